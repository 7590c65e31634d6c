//! Every implementation behind one interface: nodes are numbers, keys are u64, each hashes them its own way.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::net::{Ipv4Addr, SocketAddr};

use quorate_consistent_hash::compat::{CompatRing, RingSystem};
use quorate_consistent_hash::{
    Hasher, Jump, JumpBack, KeyHash, Maglev, Memento, NodeIndex, Nodes, Placement, Rendezvous, Ring,
};

use crate::candidates::{MultiProbe, binomial};
use crate::measure::{Case, Subject};

const VIRTUAL_NODES: u32 = 160;

macro_rules! case {
    ($label:literal, $max:expr, $removed:expr, $build:expr, $owner:expr, $replicas:expr) => {
        Box::new(Case {
            label: $label,
            max: $max,
            build: $build,
            owner: $owner,
            replicas: $replicas,
            removed: $removed,
            built: None,
        })
    };
}

fn none<S>() -> Option<fn(&S, u64) -> u32> {
    None
}

const ALL: u32 = u32::MAX;
const MIDDLE: fn(u32) -> u32 = |nodes| nodes / 2;
const LAST: fn(u32) -> u32 = |nodes| nodes - 1;

pub fn subjects() -> Vec<Box<dyn Subject>> {
    let mut all = ours();
    all.extend(compatible());
    all.extend(rings());
    all.extend(others());
    all.extend(candidates());
    all
}

fn nodes(ids: &[u32]) -> Nodes {
    Nodes::named(ids.iter().map(|id| format!("node-{id}"))).expect("names are distinct")
}

/// A placement with the node ids beside the numbers.
type Ours<P> = (P, Vec<u32>);

#[inline]
fn hash(key: u64) -> KeyHash {
    Hasher::STABLE.hash_u64(key)
}

#[inline]
fn owner<P: Placement>((placement, ids): &Ours<P>, key: u64) -> u32 {
    ids[placement.owner_of(hash(key)).get()]
}

#[inline]
fn three<P: Placement>((placement, ids): &Ours<P>, key: u64) -> u32 {
    let mut out = [NodeIndex::default(); 3];
    placement.fill_replicas(hash(key), &mut out).expect("there are three nodes");
    ids[out[0].get()] ^ ids[out[1].get()] ^ ids[out[2].get()]
}

fn ours() -> Vec<Box<dyn Subject>> {
    vec![
        case!(
            "**Ring**",
            ALL,
            MIDDLE,
            |ids: &[u32]| (Ring::new(nodes(ids)).unwrap(), ids.to_vec()),
            owner,
            Some(three)
        ),
        case!(
            "**Maglev**",
            ALL,
            MIDDLE,
            |ids: &[u32]| (Maglev::new(nodes(ids)).unwrap(), ids.to_vec()),
            owner,
            Some(three)
        ),
        case!("**Jump**", ALL, LAST, |ids: &[u32]| (Jump::new(nodes(ids)).unwrap(), ids.to_vec()), owner, Some(three)),
        case!(
            "**JumpBack**",
            ALL,
            LAST,
            |ids: &[u32]| (JumpBack::new(nodes(ids)).unwrap(), ids.to_vec()),
            owner,
            Some(three)
        ),
        case!("**Memento**", ALL, MIDDLE, memento, owner, Some(three)),
        case!(
            "**Rendezvous**",
            ALL,
            MIDDLE,
            |ids: &[u32]| (Rendezvous::new(nodes(ids)).expect("names have distinct hashes"), ids.to_vec()),
            owner,
            Some(three)
        ),
    ]
}

/// Rings of other programs with as many tokens as ours, of 32 bits and of 64.
fn compatible() -> Vec<Box<dyn Subject>> {
    vec![
        case!(
            "**CompatRing, nginx**",
            ALL,
            MIDDLE,
            |ids: &[u32]| (CompatRing::new(RingSystem::Nginx, nodes(ids)).unwrap(), ids.to_vec()),
            |(ring, ids): &Ours<CompatRing>, key| ids[ring.owner_of(short_hash(key)).get()],
            Some(|(ring, ids): &Ours<CompatRing>, key| {
                let mut out = [NodeIndex::default(); 3];
                ring.fill_replicas(short_hash(key), &mut out).expect("there are three nodes");
                ids[out[0].get()] ^ ids[out[1].get()] ^ ids[out[2].get()]
            })
        ),
        case!(
            "**CompatRing, uhashring**",
            ALL,
            MIDDLE,
            |ids: &[u32]| (CompatRing::new(RingSystem::Uhashring, nodes(ids)).unwrap(), ids.to_vec()),
            owner,
            Some(three)
        ),
    ]
}

/// A hash as programs have it that hash to 32 bits.
#[inline]
fn short_hash(key: u64) -> KeyHash {
    CompatRing::key_hash((hash(key).0 >> 32) as u32)
}

/// A gap in the ids is a node removed, as is Memento's way.
fn memento(ids: &[u32]) -> Ours<Memento> {
    let last = ids.last().copied().unwrap_or(0);
    let every: Vec<u32> = (0..=last).collect();
    let mut placement = Memento::new(nodes(&every)).unwrap();
    for id in every.iter().filter(|id| ids.binary_search(id).is_err()) {
        placement.remove(&format!("node-{id}")).unwrap();
    }
    (placement, every)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct VirtualNode(u32, u32);

#[derive(Debug, PartialEq, Eq, Hash)]
struct HrwNode(u32);

impl hrw_hash::HrwNode for HrwNode {}

fn address(id: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0A00_0000 + id), 80))
}

fn id_of(address: &SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(address) => u32::from(*address.ip()) - 0x0A00_0000,
        SocketAddr::V6(_) => unreachable!("all addresses are IPv4"),
    }
}

fn rings() -> Vec<Box<dyn Subject>> {
    vec![
        case!(
            "hashring 0.3",
            ALL,
            MIDDLE,
            |ids: &[u32]| {
                let mut ring = hashring::HashRing::new();
                ring.batch_add(
                    ids.iter().flat_map(|&id| (0..VIRTUAL_NODES).map(move |v| VirtualNode(id, v))).collect(),
                );
                ring
            },
            |ring: &hashring::HashRing<VirtualNode>, key| ring.get(&key).unwrap().0,
            Some(|ring: &hashring::HashRing<VirtualNode>, key| {
                ring.get_with_replicas(&key, 2).unwrap().iter().fold(0, |sum, node| sum ^ node.0)
            })
        ),
        case!(
            "pingora-ketama 0.8",
            ALL,
            MIDDLE,
            |ids: &[u32]| {
                let buckets: Vec<_> = ids.iter().map(|&id| pingora_ketama::Bucket::new(address(id), 1)).collect();
                pingora_ketama::Continuum::new(&buckets)
            },
            |ring: &pingora_ketama::Continuum, key: u64| id_of(&ring.node(&key.to_le_bytes()).unwrap()),
            Some(|ring: &pingora_ketama::Continuum, key: u64| {
                ring.node_iter(&key.to_le_bytes()).take(3).fold(0, |sum, node| sum ^ id_of(node))
            })
        ),
        case!(
            "consistent_hash 0.1",
            1000,
            MIDDLE,
            |ids: &[u32]| {
                let nodes: Vec<_> =
                    ids.iter().map(|&id| consistent_hash::Node::new(id).quantity(VIRTUAL_NODES as usize)).collect();
                consistent_hash::StaticHashRing::new(consistent_hash::DefaultHash, nodes.into_iter())
            },
            |ring: &consistent_hash::StaticHashRing<u32, (), consistent_hash::DefaultHash>, key: u64| {
                ring.calc_candidates(&key).next().unwrap().key
            },
            Some(|ring: &consistent_hash::StaticHashRing<u32, (), consistent_hash::DefaultHash>, key: u64| {
                ring.calc_candidates(&key).take(3).fold(0, |sum, node| sum ^ node.key)
            })
        ),
    ]
}

fn others() -> Vec<Box<dyn Subject>> {
    vec![
        case!(
            "maglev-hash 0.1",
            ALL,
            MIDDLE,
            |ids: &[u32]| maglev_hash::MaglevTable::with_capacity(ids.to_vec(), 65537),
            |table: &maglev_hash::MaglevTable<u32>, key: u64| *table.get(&key).unwrap(),
            Some(|table: &maglev_hash::MaglevTable<u32>, key: u64| {
                table.get_top_k(&key, 3).into_iter().fold(0, |sum, node| sum ^ node)
            })
        ),
        case!(
            "jump-consistent-hash 0.1",
            ALL,
            LAST,
            |ids: &[u32]| ids.len(),
            |count: &usize, key: u64| jump_consistent_hash::hash(key, *count),
            none()
        ),
        case!(
            "fliphash 0.1",
            ALL,
            LAST,
            |ids: &[u32]| ids.len() as u64 - 1,
            |last: &u64, key: u64| fliphash::fliphash_64(key, ..=*last) as u32,
            none()
        ),
        case!(
            "anchorhash 0.2 (32-bit keys)",
            ALL,
            MIDDLE,
            anchor,
            |anchor: &Anchor, key: u64| *anchor.get_resource((key >> 16) as u32).unwrap(),
            none()
        ),
        case!(
            "hrw-hash 2.0",
            1000,
            MIDDLE,
            |ids: &[u32]| hrw_hash::HrwNodes::new(ids.iter().map(|&id| HrwNode(id))),
            |nodes: &hrw_hash::HrwNodes<HrwNode>, key: u64| nodes.sorted(&key).next().unwrap().0,
            Some(|nodes: &hrw_hash::HrwNodes<HrwNode>, key: u64| {
                nodes.sorted(&key).take(3).fold(0, |sum, node| sum ^ node.0)
            })
        ),
    ]
}

type Anchor = anchorhash::AnchorHash<u32, u32, BuildHasherDefault<DefaultHasher>>;

fn anchor(ids: &[u32]) -> Anchor {
    let last = ids.last().copied().unwrap_or(0);
    let capacity = u16::try_from(last + 1).expect("the table of sizes ends below");
    let mut anchor = anchorhash::Builder::with_hasher(BuildHasherDefault::<DefaultHasher>::default())
        .with_resources(0..=last)
        .build(capacity);
    for id in (0..=last).filter(|id| ids.binary_search(id).is_err()) {
        anchor.remove_resource(&id).unwrap();
    }
    anchor
}

fn candidates() -> Vec<Box<dyn Subject>> {
    vec![
        case!(
            "(candidate) Binomial",
            ALL,
            LAST,
            |ids: &[u32]| ids.len() as u32,
            |count: &u32, key: u64| binomial(hash(key).0, *count),
            none()
        ),
        case!(
            "(candidate) multi-probe, 21",
            ALL,
            MIDDLE,
            |ids: &[u32]| MultiProbe::new(ids.iter().copied()),
            |ring: &MultiProbe, key: u64| ring.owner(hash(key)),
            none()
        ),
    ]
}

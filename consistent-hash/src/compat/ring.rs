//! Rings that place keys exactly as other programs do.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::points::{Listed, Points};
use super::server::{self, require_distinct};
use super::system::RingSystem;
use crate::error::{BuildError, ReplicaError};
use crate::hash::KeyHash;
use crate::movement::sealed;
use crate::node::{Node, NodeIndex, Nodes, Weight};
use crate::placement::Placement;
use crate::ring::table::TokenTable;

/// A ring that agrees bit for bit with another program: keys, tokens, and who owns a token two nodes have.
///
/// The nodes are the other program's servers, in the order of its configuration, which decides ties. Where the other hashes to 32
/// bits, its hash is the upper half of a [`KeyHash`] ([`CompatRing::key_hash`] makes one).
///
/// ```
/// use quorate_consistent_hash::compat::{CompatRing, RingSystem};
/// use quorate_consistent_hash::{Nodes, Placement};
///
/// let ring = CompatRing::new(RingSystem::Nginx, Nodes::named(["10.0.0.1:80", "10.0.0.2:80"])?)?;
/// assert_eq!(ring.owner(b"/index.html").name(), "10.0.0.1:80");
/// # Ok::<(), quorate_consistent_hash::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CompatRing {
    system: RingSystem,
    nodes: Nodes,
    table: TokenTable,
    keyless: Vec<Box<str>>,
}

/// A server as another program's configuration lists it. Unlike a [`Node`] it may be listed twice and have a weight of zero.
///
/// | system | the name |
/// | --- | --- |
/// | libmemcached | `host:port`, `[IPv6 address]:port`, or the path of a Unix socket; port 11211 may be left out |
/// | twemproxy | `host:port` or the path of a socket; the name behind it, where there is one, is `hashed` |
/// | nginx | as in `server`: `host`, `host:port` or `unix:PATH` |
/// | Envoy, gRPC | the address `ip:port`, the host name, or the `hash_key` of the metadata |
/// | Varnish | the name of the backend in VCL; an `ident` is `hashed` |
/// | Traffic Server | `host:port`; the string behind `&` is `hashed` |
/// | others | the text the program was given |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The name, as the table above has it.
    pub name: Box<str>,
    /// The weight; nothing where it is zero.
    pub weight: Option<Weight>,
    /// What the program hashes in place of what it makes of the name.
    pub hashed: Option<Box<str>>,
    /// The `id` of a server in HAProxy.
    pub id: Option<u32>,
}

impl Server {
    /// A server of weight one, with nothing but a name.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self { name: name.into(), weight: Some(Weight::ONE), hashed: None, id: None }
    }
}

impl From<&Node> for Server {
    fn from(node: &Node) -> Self {
        Self { weight: Some(node.weight()), ..Self::new(node.name()) }
    }
}

impl CompatRing {
    /// As a program places on these nodes, each of which owns keys.
    ///
    /// # Errors
    ///
    /// [`BuildError::FractionalWeight`] for systems that know no such weights; [`BuildError::ShareTooSmall`] where the program would give
    /// a server no token; [`BuildError::SameServer`] for two names of one server; [`BuildError::HashCollision`] for a server all of
    /// whose tokens are another's; [`BuildError::TooManyTokens`]; [`BuildError::BadRingSize`] for sizes that Envoy refuses.
    pub fn new(system: RingSystem, nodes: Nodes) -> Result<Self, BuildError> {
        match system {
            RingSystem::Libmemcached(_) | RingSystem::Twemproxy(_) => {
                require_distinct(&nodes, server::memcached_meaning)?;
            }
            RingSystem::Libketama | RingSystem::TrafficServer => require_distinct(&nodes, str::to_ascii_lowercase)?,
            RingSystem::Nginx => require_distinct(&nodes, server::nginx_meaning)?,
            _ => {}
        }
        let listed: Vec<_> = nodes
            .iter()
            .map(|(index, node)| Listed {
                name: node.name(),
                hashed: None,
                weight: Some(node.weight()),
                id: None,
                node: index,
            })
            .collect();
        let points = Points::of(system, &listed)?;
        let mut owns = vec![false; nodes.capacity()];
        for (_, node) in &points {
            owns[node.get()] = true;
        }
        if let Some((_, node)) = nodes.iter().find(|(index, _)| !owns[index.get()]) {
            return Err(BuildError::ShareTooSmall(node.name().into()));
        }
        let ring = Self::of_points(system, nodes, points);
        require_every_owner(&ring)?;
        Ok(ring)
    }

    /// As a program places on the servers of its configuration, whatever it makes of them: a server listed twice, of weight zero, or
    /// with a share too small. Servers that get no keys are no nodes of the ring; [`CompatRing::keyless`] names them.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoNodes`] where no server gets keys; [`BuildError::EmptyName`]; and as [`CompatRing::new`], but for what is said above.
    pub fn of_servers(system: RingSystem, servers: &[Server]) -> Result<Self, BuildError> {
        let mut numbers = BTreeMap::new();
        let mut listed: Vec<Listed<'_>> = Vec::new();
        for server in servers {
            if server.name.is_empty() {
                return Err(BuildError::EmptyName);
            }
            let next = numbers.len();
            let node = *numbers.entry(&*server.name).or_insert_with(|| NodeIndex::new(next));
            // Of one address gRPC makes one endpoint, with all the weight; Envoy's clusters are the same where names are.
            if let (RingSystem::Envoy(_), Some(first)) = (system, listed.iter_mut().find(|listed| listed.node == node))
            {
                first.weight = sum(first.weight, server.weight)?;
                continue;
            }
            listed.push(Listed {
                name: &server.name,
                hashed: server.hashed.as_deref(),
                weight: server.weight,
                id: server.id,
                node,
            });
        }
        let points = Points::of(system, &listed)?;
        let mut points = distinct(points);
        let mut owns = vec![false; numbers.len()];
        for (_, node) in &points {
            owns[node.get()] = true;
        }
        let mut nodes: Vec<Option<Node>> = vec![None; numbers.len()];
        let mut keyless: Vec<Box<str>> = Vec::new();
        for server in &listed {
            let place = &mut nodes[server.node.get()];
            if !owns[server.node.get()] {
                if !keyless.iter().any(|name| **name == *server.name) {
                    keyless.push(server.name.into());
                }
            } else if place.is_none() {
                *place = Some(Node::new(server.name).with_weight(server.weight.unwrap_or_default()));
            }
        }
        points.shrink_to_fit();
        Ok(Self { keyless, ..Self::of_points(system, Nodes::with_holes(nodes)?, points) })
    }

    /// The listed servers that get no keys, in their order.
    pub fn keyless(&self) -> impl ExactSizeIterator<Item = &str> {
        self.keyless.iter().map(|name| &**name)
    }

    /// A 32-bit hash of the other program as a [`KeyHash`].
    pub fn key_hash(hash: u32) -> KeyHash {
        KeyHash(u64::from(hash) << 32)
    }

    /// Whose ring it is.
    pub fn system(&self) -> RingSystem {
        self.system
    }

    /// The last hash that belongs to each part of the ring, ascending, with the number of its node. For most systems these are the
    /// tokens themselves; HAProxy's ring is cut half-way between tokens, and that of consistent-hashing before them.
    pub fn tokens(&self) -> impl Iterator<Item = (crate::Token, NodeIndex)> {
        self.table.iter().map(|(token, node)| (crate::Token(token), node))
    }

    fn of_points(system: RingSystem, nodes: Nodes, points: Vec<(u64, NodeIndex)>) -> Self {
        let parts = parts(system, points);
        // The others sort in place and look at the token alone; with the merge sort of the GNU C library the first given wins.
        let table = TokenTable::build(parts.iter().copied(), parts.len(), |one, other| one.cmp(&other));
        Self { system, nodes, table, keyless: Vec::new() }
    }
}

impl sealed::Table for CompatRing {
    fn table(&self) -> &TokenTable {
        &self.table
    }
}

impl Placement for CompatRing {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        self.system.hash(key)
    }

    #[inline]
    fn owner_of(&self, hash: KeyHash) -> NodeIndex {
        self.table.owner(hash.0)
    }

    fn visit(&self, hash: KeyHash, visit: &mut dyn FnMut(NodeIndex) -> ControlFlow<()>) {
        // Whether the walk was broken off makes no difference to the caller, who knows.
        let _ = self.table.owners_from(hash.0).try_for_each(visit);
    }

    #[inline]
    fn fill_replicas(&self, hash: KeyHash, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
        self.table.fill(hash.0, &self.nodes, out)
    }
}

/// Points as the last hashes of the parts of the ring that belong to their nodes.
fn parts(system: RingSystem, points: Vec<(u64, NodeIndex)>) -> Vec<(u64, NodeIndex)> {
    match system {
        // To the nearest point, of two as near the lower.
        RingSystem::Haproxy(_) => {
            let points = distinct(points);
            let next = points.iter().cycle().skip(1).map(|(point, _)| point);
            let middle = |((point, node), next): (&(u64, NodeIndex), &u64)| {
                // Of 32 bits, in the upper half; half a step there is cut off.
                let half = (next.wrapping_sub(*point) >> 1) >> 32 << 32;
                (point.wrapping_add(half), *node)
            };
            points.iter().zip(next).map(middle).collect()
        }
        // To the greatest point that is not above the hash.
        RingSystem::NpmConsistentHashing { .. } => {
            let points = distinct(points);
            let next = points.iter().cycle().skip(1).map(|(point, _)| point);
            points.iter().zip(next).map(|((_, node), next)| (next.wrapping_sub(1), *node)).collect()
        }
        // Above all points to the highest of them, not round to the lowest.
        RingSystem::Varnish => {
            let mut points = distinct(points);
            if let Some(last) = points.last_mut() {
                last.0 = u64::from(u32::MAX) << 32;
            }
            points
        }
        _ => points,
    }
}

/// The points in order, each once: the server listed first has a point that is another's as well.
fn distinct(mut points: Vec<(u64, NodeIndex)>) -> Vec<(u64, NodeIndex)> {
    points.sort_unstable();
    points.dedup_by_key(|point| point.0);
    points
}

fn sum(one: Option<Weight>, other: Option<Weight>) -> Result<Option<Weight>, BuildError> {
    let (Some(one), Some(other)) = (one, other) else { return Ok(one.or(other)) };
    let tokens = one.units().saturating_add(other.units()) >> 16;
    Weight::new(one.as_f64() + other.as_f64())
        .map(Some)
        .map_err(|_| BuildError::TooManyTokens { tokens, max: u64::from(u32::MAX) })
}

/// Refuses a node whose tokens are all another's as well: it would own nothing.
fn require_every_owner(ring: &CompatRing) -> Result<(), BuildError> {
    let nodes = &ring.nodes;
    let mut rival = vec![None; nodes.capacity()];
    let mut owns = vec![false; nodes.capacity()];
    let mut last = None;
    for (token, node) in ring.table.iter() {
        match last {
            Some((before, owner)) if before == token => rival[node.get()] = Some(owner),
            _ => {
                owns[node.get()] = true;
                last = Some((token, node));
            }
        }
    }
    let Some((index, node)) = nodes.iter().find(|(index, _)| !owns[index.get()]) else { return Ok(()) };
    let rival = rival[index.get()].map_or(node, |owner| nodes.node(owner));
    Err(BuildError::HashCollision(rival.name().into(), node.name().into()))
}

//! Rings that place keys exactly like other programs.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::listing::{Listing, Server};
use super::points::{Listed, Points};
use super::server::{self, require_distinct};
use super::system::{RingSystem, of_32_bits};
use crate::error::{BuildError, ReplicaError};
use crate::hash::KeyHash;
use crate::node::{NodeIndex, Nodes, Weight};
use crate::placement::Placement;
use crate::ring::table::TokenTable;
use crate::token_placement::{TokenPlacement, sealed};

/// A ring that agrees bit for bit with another program: in keys, in tokens, and in the owner of a token that two nodes
/// share.
///
/// The nodes are the other program's servers, in the order of its configuration, which decides ties. If the other
/// program hashes to 32 bits, its hash is the upper half of a [`KeyHash`] ([`CompatRing::key_hash`] makes one).
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

impl CompatRing {
    /// Makes the ring of a program for these nodes, all of which must own keys.
    ///
    /// # Errors
    ///
    /// [`BuildError::FractionalWeight`] for systems without fractional weights; [`BuildError::ShareTooSmall`] if the
    /// program would give a server no token; [`BuildError::SameServer`] for two names of one server;
    /// [`BuildError::HashCollision`] for a server whose tokens all belong to another; [`BuildError::TooManyTokens`];
    /// [`BuildError::BadRingSize`] for sizes that Envoy refuses.
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

    /// Makes the ring of a program for the servers of its configuration, and treats servers listed twice, of weight
    /// zero, or with a share too small as the program does. Servers that get no keys are not nodes of the ring;
    /// [`CompatRing::keyless`] names them.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoNodes`] if no server gets keys; [`BuildError::EmptyName`]; and the errors of [`CompatRing::new`]
    /// that the cases above leave.
    pub fn of_servers(system: RingSystem, servers: &[Server]) -> Result<Self, BuildError> {
        let listing = Listing::of(servers)?;
        let mut listed: Vec<Listed<'_>> = Vec::new();
        for (server, &node) in servers.iter().zip(&listing.numbers) {
            // For gRPC, servers with one address are one endpoint with the sum of their weights.
            if let (RingSystem::Grpc { .. }, Some(first)) =
                (system, listed.iter_mut().find(|listed| listed.node == node))
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
        let mut points = distinct(system, points);
        let mut owns = vec![false; listing.names.len()];
        for (_, node) in &points {
            owns[node.get()] = true;
        }
        let (nodes, keyless) = listing.nodes(servers, &owns)?;
        points.shrink_to_fit();
        Ok(Self { keyless, ..Self::of_points(system, nodes, points) })
    }

    /// The listed servers that get no keys, in the order of the list.
    pub fn keyless(&self) -> impl ExactSizeIterator<Item = &str> {
        self.keyless.iter().map(|name| &**name)
    }

    /// Makes a [`KeyHash`] from a 32-bit hash of the other program.
    pub fn key_hash(hash: u32) -> KeyHash {
        of_32_bits(hash)
    }

    /// The system whose ring this is.
    pub fn system(&self) -> RingSystem {
        self.system
    }

    /// The last hash of each part of the ring, ascending, with the number of its node. For most systems these are the
    /// tokens themselves. HAProxy's ring is divided half-way between tokens, and that of consistent-hashing just before
    /// them.
    pub fn tokens(&self) -> impl Iterator<Item = (crate::Token, NodeIndex)> {
        self.table.iter().map(|(token, node)| (crate::Token(token), node))
    }

    fn of_points(system: RingSystem, nodes: Nodes, points: Vec<(u64, NodeIndex)>) -> Self {
        let parts = parts(system, points);
        // The other systems sort in place by the token alone. With the merge sort of the GNU C library the token that
        // was given first wins.
        let table = TokenTable::build(parts.iter().copied(), parts.len(), |one, other| one.cmp(&other));
        Self { system, nodes, table, keyless: Vec::new() }
    }
}

impl sealed::Table for CompatRing {
    fn table(&self) -> &TokenTable {
        &self.table
    }
}

impl TokenPlacement for CompatRing {}

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
        // The result says whether the visitor stopped the walk, which the caller knows.
        let _ = self.table.owners_from(hash.0).try_for_each(visit);
    }

    #[inline]
    fn fill_replicas(&self, hash: KeyHash, out: &mut [NodeIndex]) -> Result<(), ReplicaError> {
        self.table.fill(hash.0, &self.nodes, out)
    }
}

/// Converts points into the last hashes of the parts of the ring that belong to their nodes.
fn parts(system: RingSystem, points: Vec<(u64, NodeIndex)>) -> Vec<(u64, NodeIndex)> {
    match system {
        // A key belongs to the nearest point; of two equally near points, to the lower.
        RingSystem::Haproxy(_) => {
            let points = distinct(system, points);
            let next = points.iter().cycle().skip(1).map(|(point, _)| point);
            let middle = |((point, node), next): (&(u64, NodeIndex), &u64)| {
                // Points of 32 bits stand in the upper half. Half a step is cut off there.
                let half = (next.wrapping_sub(*point) >> 1) >> 32 << 32;
                (point.wrapping_add(half), *node)
            };
            points.iter().zip(next).map(middle).collect()
        }
        // A key belongs to the greatest point that is not above its hash.
        RingSystem::NpmConsistentHashing { .. } => {
            let points = distinct(system, points);
            let next = points.iter().cycle().skip(1).map(|(point, _)| point);
            points.iter().zip(next).map(|((_, node), next)| (next.wrapping_sub(1), *node)).collect()
        }
        // A key above all points belongs to the highest of them, not to the lowest.
        RingSystem::Varnish => {
            let mut points = distinct(system, points);
            if let Some(last) = points.last_mut() {
                last.0 = u64::from(u32::MAX) << 32;
            }
            points
        }
        RingSystem::Groupcache { .. } => distinct(system, points),
        _ => points,
    }
}

/// The points in order, each once. A point of two servers belongs to the server listed first; in groupcache, which has
/// its points in a map, to the last.
fn distinct(system: RingSystem, mut points: Vec<(u64, NodeIndex)>) -> Vec<(u64, NodeIndex)> {
    if matches!(system, RingSystem::Groupcache { .. }) {
        points.sort_unstable_by_key(|&(point, node)| (point, core::cmp::Reverse(node)));
    } else {
        points.sort_unstable();
    }
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

/// Refuses a node whose tokens all belong to other nodes too: it would own nothing.
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

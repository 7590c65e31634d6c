//! Placements as plain data, to be stored or sent, and checked when they are restored.
//!
//! A state has a fingerprint of all its content. It detects damage, edits and mixed-up parts, with the certainty of 64
//! bits. It does not protect against a forger, who can compute the fingerprint too.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::digest::Digest;
use crate::error::{BuildError, display};
use crate::hash::{HASH_VERSION, Hasher, fold};
use crate::maglev::Maglev;
use crate::memento::Memento;
use crate::node::{Node, Nodes};
use crate::placement::Placement;
use crate::rendezvous::Rendezvous;
use crate::ring::{Ring, RingBuilder};

/// Version of the states in this crate.
pub const STATE_VERSION: u32 = 1;

/// A [`Ring`] as data. It contains the key of a keyed [`Hasher`], and must then be kept secret like the key.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RingState {
    /// The [`STATE_VERSION`] of the crate that made it.
    pub version: u32,
    /// The [`HASH_VERSION`] of the crate that made it.
    pub hash_version: u32,
    /// The settings of the ring.
    pub settings: RingBuilder,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// A digest of all fields above, and of all tokens and their owners.
    pub fingerprint: u64,
}

/// A [`Memento`] as data. It contains the key of a keyed [`Hasher`], and must then be kept secret like the key.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MementoState {
    /// The [`STATE_VERSION`] of the crate that made it.
    pub version: u32,
    /// The [`HASH_VERSION`] of the crate that made it.
    pub hash_version: u32,
    /// The hash of keys.
    pub hasher: Hasher,
    /// The nodes by number, with `None` for each removed one.
    pub numbers: Vec<Option<Node>>,
    /// The numbers of removed nodes, in the order of their removal.
    pub removed: Vec<u32>,
    /// A digest of all fields above.
    pub fingerprint: u64,
}

/// A [`Rendezvous`] as data. It contains the key of a keyed [`Hasher`], and must then be kept secret like the key.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RendezvousState {
    /// The [`STATE_VERSION`] of the crate that made it.
    pub version: u32,
    /// The [`HASH_VERSION`] of the crate that made it.
    pub hash_version: u32,
    /// The hash of keys.
    pub hasher: Hasher,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// A digest of all fields above.
    pub fingerprint: u64,
}

/// A [`Maglev`] table as data. It contains the key of a keyed [`Hasher`], and must then be kept secret like the key.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MaglevState {
    /// The [`STATE_VERSION`] of the crate that made it.
    pub version: u32,
    /// The [`HASH_VERSION`] of the crate that made it.
    pub hash_version: u32,
    /// The hash of keys.
    pub hasher: Hasher,
    /// Number of entries of the table.
    pub table_size: u32,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// A digest of all fields above, and of the owners of all entries.
    pub fingerprint: u64,
}

/// Reason why a state cannot be restored. Nothing was built: keys must not be placed by a state that was misread.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateRestoreError {
    /// The state has another version.
    UnsupportedVersion {
        /// The version of the state.
        found: u32,
    },
    /// The state was made under another version of the hash, which would place keys elsewhere.
    UnsupportedHash {
        /// The version of the hash.
        found: u32,
    },
    /// The nodes or settings are not valid.
    Build(BuildError),
    /// The state differs from the one that was stored: it was damaged, edited, or put together from several.
    FingerprintMismatch,
}

display!(
    StateRestoreError,
    self,
    f,
    match self {
        Self::UnsupportedVersion { found } => write!(f, "state of version {found}, supported is {STATE_VERSION}"),
        Self::UnsupportedHash { found } => write!(f, "hash of version {found}, supported is {HASH_VERSION}"),
        Self::Build(error) => error.fmt(f),
        Self::FingerprintMismatch => f.write_str("the stored fingerprint does not match the state"),
    }
);

impl From<&Ring> for RingState {
    fn from(ring: &Ring) -> Self {
        Self {
            version: STATE_VERSION,
            hash_version: HASH_VERSION,
            settings: ring.settings(),
            nodes: ring.nodes().iter().map(|(_, node)| node.clone()).collect(),
            fingerprint: ring_fingerprint(ring),
        }
    }
}

impl TryFrom<RingState> for Ring {
    type Error = StateRestoreError;

    fn try_from(state: RingState) -> Result<Self, StateRestoreError> {
        check(state.version, state.hash_version)?;
        let nodes = Nodes::new(state.nodes).map_err(StateRestoreError::Build)?;
        let ring = state.settings.build(nodes).map_err(StateRestoreError::Build)?;
        if ring_fingerprint(&ring) == state.fingerprint {
            Ok(ring)
        } else {
            Err(StateRestoreError::FingerprintMismatch)
        }
    }
}

impl From<&Memento> for MementoState {
    fn from(memento: &Memento) -> Self {
        Self {
            version: STATE_VERSION,
            hash_version: HASH_VERSION,
            hasher: memento.hasher(),
            numbers: memento.numbers().map(Option::<&Node>::cloned).collect(),
            removed: memento.removed().collect(),
            fingerprint: memento_fingerprint(memento),
        }
    }
}

impl TryFrom<MementoState> for Memento {
    type Error = StateRestoreError;

    fn try_from(state: MementoState) -> Result<Self, StateRestoreError> {
        check(state.version, state.hash_version)?;
        let memento =
            Memento::restore(state.numbers, &state.removed, state.hasher).map_err(StateRestoreError::Build)?;
        if memento_fingerprint(&memento) == state.fingerprint {
            Ok(memento)
        } else {
            Err(StateRestoreError::FingerprintMismatch)
        }
    }
}

impl From<&Rendezvous> for RendezvousState {
    fn from(rendezvous: &Rendezvous) -> Self {
        Self {
            version: STATE_VERSION,
            hash_version: HASH_VERSION,
            hasher: rendezvous.hasher(),
            nodes: rendezvous.nodes().iter().map(|(_, node)| node.clone()).collect(),
            fingerprint: rendezvous_fingerprint(rendezvous),
        }
    }
}

impl TryFrom<RendezvousState> for Rendezvous {
    type Error = StateRestoreError;

    fn try_from(state: RendezvousState) -> Result<Self, StateRestoreError> {
        check(state.version, state.hash_version)?;
        let nodes = Nodes::new(state.nodes).map_err(StateRestoreError::Build)?;
        let rendezvous = Self::with_hasher(nodes, state.hasher).map_err(StateRestoreError::Build)?;
        if rendezvous_fingerprint(&rendezvous) == state.fingerprint {
            Ok(rendezvous)
        } else {
            Err(StateRestoreError::FingerprintMismatch)
        }
    }
}

impl From<&Maglev> for MaglevState {
    fn from(maglev: &Maglev) -> Self {
        Self {
            version: STATE_VERSION,
            hash_version: HASH_VERSION,
            hasher: maglev.hasher(),
            table_size: u32::try_from(maglev.table_size()).expect("a table size fits 32 bits"),
            nodes: maglev.nodes().iter().map(|(_, node)| node.clone()).collect(),
            fingerprint: maglev_fingerprint(maglev),
        }
    }
}

impl TryFrom<MaglevState> for Maglev {
    type Error = StateRestoreError;

    fn try_from(state: MaglevState) -> Result<Self, StateRestoreError> {
        check(state.version, state.hash_version)?;
        let nodes = Nodes::new(state.nodes).map_err(StateRestoreError::Build)?;
        let settings = Self::builder().hasher(state.hasher).table_size(state.table_size);
        let maglev = settings.build(nodes).map_err(StateRestoreError::Build)?;
        if maglev_fingerprint(&maglev) == state.fingerprint {
            Ok(maglev)
        } else {
            Err(StateRestoreError::FingerprintMismatch)
        }
    }
}

fn check(version: u32, hash_version: u32) -> Result<(), StateRestoreError> {
    if version != STATE_VERSION {
        return Err(StateRestoreError::UnsupportedVersion { found: version });
    }
    if hash_version != HASH_VERSION {
        return Err(StateRestoreError::UnsupportedHash { found: hash_version });
    }
    Ok(())
}

fn ring_fingerprint(ring: &Ring) -> u64 {
    let mut digest = Digest::default();
    let settings = ring.settings();
    digest.hasher(settings.hash_in_use()).number(settings.virtual_nodes_each().into());
    digest.number(ring.nodes().len() as u64);
    let mut place = vec![0; ring.nodes().capacity()];
    for (number, (index, node)) in (0_u64..).zip(ring.nodes().iter()) {
        digest.node(node);
        place[index.get()] = number;
    }
    let tokens = ring.tokens().fold(0, |sum, (token, node)| fold(sum ^ token.0 ^ SALT, place[node.get()] << 1 | 1));
    digest.number(tokens).finish()
}

fn memento_fingerprint(memento: &Memento) -> u64 {
    let mut digest = Digest::default();
    digest.hasher(memento.hasher()).number(memento.numbers().len() as u64);
    for node in memento.numbers() {
        match node {
            None => digest.number(0),
            Some(node) => digest.number(1).node(node),
        };
    }
    for number in memento.removed() {
        digest.number(number.into());
    }
    digest.finish()
}

fn rendezvous_fingerprint(rendezvous: &Rendezvous) -> u64 {
    let mut digest = Digest::default();
    digest.hasher(rendezvous.hasher());
    for (_, node) in rendezvous.nodes().iter() {
        digest.node(node);
    }
    digest.finish()
}

fn maglev_fingerprint(maglev: &Maglev) -> u64 {
    let mut digest = Digest::default();
    digest.hasher(maglev.hasher()).number(maglev.table_size() as u64);
    let mut place = vec![0; maglev.nodes().capacity()];
    for (number, (index, node)) in (0_u64..).zip(maglev.nodes().iter()) {
        digest.node(node);
        place[index.get()] = number;
    }
    let entries = maglev.table().fold(SALT, |sum, node| fold(sum, place[node.get()] << 1 | 1));
    digest.number(entries).finish()
}

const SALT: u64 = 0x9E6C_63D0_876A_46B5;

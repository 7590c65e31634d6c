//! The records that registers write, byte by byte. All numbers are little-endian.
//!
//! The state record:
//!
//! ```text
//!  0         1             9        17         25           33             34        36
//! +---------+-------------+--------+----------+------------+--------------+---------+------------------------+
//! | version | reserved (8)| age (8)| floor (8)| removed (8)| is erasing(1)| count(2)| count x node(8) age(8) |
//! +---------+-------------+--------+----------+------------+--------------+---------+------------------------+
//! | length (2) | roles of the founding | roles in force, unless they are the same             |
//! +------------+-----------------------+------------------------------------------------------+
//! ```
//!
//! Roles are the number of proposers (8), the proposers (8 each), and the description of the quorum system. Those in
//! force are in the form of [`RolesInForce`].
//!
//! A register has a number `n`. Its journal record with the key `2n` is what was accepted:
//!
//! ```text
//!  0         1             17            33           49           53           54        55
//! +---------+-------------+-------------+------------+------------+------------+---------+--------------+
//! | version | promised(16)| accepted(16)| version(16)| checksum(4)| is value(1)| count(1)| key bytes (2)|
//! +---------+-------------+-------------+------------+------------+------------+---------+--------------+
//!  57
//! +-----------------+-----+-------+
//! | count x past(44)| key | value |
//! +-----------------+-----+-------+
//! ```
//!
//! Each of the `count` past changes has an id (28) and a version (16). The journal record with the key `2n + 1` is a
//! promise that was made without accepting anything: version (1), promised (16), key. The higher promise counts.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{NodeId, StateError};

use super::content::{Content, PAST_MAX, Past};
use super::state::State;
use super::{PROPOSERS_MAX, Roles, RolesInForce, Version};
use crate::codec::{BALLOT_BYTES, ID_BYTES, get_ballot, get_id, of_version, put_ballot, put_id};
use crate::{Ballot, QuorumSystem};

/// A description of the roles. Equal roles have equal descriptions on every node and in every release.
pub(crate) fn describe(roles: &Roles) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u64_le(roles.proposers().len() as u64);
    for node in roles.proposers() {
        out.put_u64_le(node.0);
    }
    roles.quorums().encode(&mut out);
    out.freeze()
}

pub(crate) fn of_description(mut rest: Bytes) -> Result<Roles, StateError> {
    let count = rest.try_get_u64_le().map_err(|_| StateError::Malformed)?;
    let count = usize::try_from(count).ok().filter(|count| *count <= PROPOSERS_MAX).ok_or(StateError::Malformed)?;
    if rest.len() < count * 8 {
        return Err(StateError::Malformed);
    }
    let proposers: Vec<NodeId> = (0..count).map(|_| NodeId(rest.get_u64_le())).collect();
    let quorums = QuorumSystem::decode(&rest)?;
    Ok(Roles::of(quorums).with_proposers(proposers))
}

/// Encodes a state record.
pub(crate) fn encode_state(description: &[u8], in_force: &RolesInForce, state: &State) -> Bytes {
    let mut out = BytesMut::with_capacity(STATE_BYTES + 16 * state.required.len() + description.len());
    out.put_u8(VERSION);
    out.put_u64_le(state.reserved);
    out.put_u64_le(state.age);
    out.put_u64_le(state.floor);
    out.put_u64_le(state.removed);
    out.put_u8(state.is_erasing.into());
    out.put_u16_le(u16::try_from(state.required.len()).expect("proposers are bounded"));
    for (node, age) in &state.required {
        out.put_u64_le(node.0);
        out.put_u64_le(*age);
    }
    out.put_u16_le(u16::try_from(description.len()).expect("roles are bounded"));
    out.put_slice(description);
    if in_force.epoch() > 0 {
        out.put_slice(&in_force.encode());
    }
    out.freeze()
}

/// What a state record contains.
#[derive(Clone, Debug)]
pub(crate) struct StateRecord {
    /// The roles with which the group was founded.
    pub(crate) founding: Roles,
    pub(crate) in_force: RolesInForce,
    pub(crate) state: State,
}

/// Decodes a state record from all of `bytes`.
pub(crate) fn decode_state(bytes: &Bytes) -> Result<StateRecord, StateError> {
    let mut rest = of_version(bytes, VERSION)?;
    if bytes.len() < STATE_BYTES {
        return Err(StateError::Malformed);
    }
    let [reserved, age, floor, removed] = [(); 4].map(|()| rest.get_u64_le());
    let is_erasing = match rest.get_u8() {
        0 => false,
        1 => true,
        _ => return Err(StateError::Malformed),
    };
    let count = usize::from(rest.get_u16_le());
    if count > PROPOSERS_MAX || rest.len() < count * 16 {
        return Err(StateError::Malformed);
    }
    let required: BTreeMap<NodeId, u64> = (0..count).map(|_| (NodeId(rest.get_u64_le()), rest.get_u64_le())).collect();
    let length = usize::from(rest.try_get_u16_le().map_err(|_| StateError::Malformed)?);
    if rest.len() < length {
        return Err(StateError::Malformed);
    }
    let founding = of_description(rest.split_to(length))?;
    let in_force =
        if rest.is_empty() { RolesInForce::founding(founding.clone()) } else { RolesInForce::decode(&rest)? };
    Ok(StateRecord { founding, in_force, state: State { reserved, age, floor, removed, is_erasing, required } })
}

/// What is durable of an accepted content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcceptedRecord {
    pub(crate) key: Bytes,
    pub(crate) promised: Ballot,
    pub(crate) accepted: Ballot,
    pub(crate) content: Content,
}

/// Encodes the journal record of what was accepted.
pub(crate) fn encode_accepted(key: &[u8], promised: Ballot, accepted: Ballot, content: &Content) -> Bytes {
    let value = content.value.as_deref().unwrap_or_default();
    let length = ACCEPTED_BYTES + content.past.len() * PAST_BYTES + key.len() + value.len();
    let mut out = BytesMut::with_capacity(length);
    out.put_u8(VERSION);
    put_ballot(&mut out, promised);
    put_ballot(&mut out, accepted);
    put_ballot(&mut out, content.version.0);
    out.put_u32_le(content.checksum);
    out.put_u8(content.value.is_some().into());
    out.put_u8(u8::try_from(content.past.len()).expect("remembered changes are bounded"));
    out.put_u16_le(u16::try_from(key.len()).expect("keys are bounded"));
    for past in &content.past {
        put_id(&mut out, past.id);
        put_ballot(&mut out, past.version.0);
    }
    out.put_slice(key);
    out.put_slice(value);
    out.freeze()
}

/// Decodes the journal record of what was accepted. Key and value are slices of `bytes`.
pub(crate) fn decode_accepted(bytes: &Bytes) -> Result<AcceptedRecord, StateError> {
    let mut rest = of_version(bytes, VERSION)?;
    if bytes.len() < ACCEPTED_BYTES {
        return Err(StateError::Malformed);
    }
    let promised = get_ballot(&mut rest)?;
    let accepted = get_ballot(&mut rest)?;
    let version = Version(get_ballot(&mut rest)?);
    let checksum = rest.get_u32_le();
    let (has_value, count, key_bytes) = (rest.get_u8(), usize::from(rest.get_u8()), usize::from(rest.get_u16_le()));
    if count > PAST_MAX || has_value > 1 || rest.len() < count * PAST_BYTES + key_bytes {
        return Err(StateError::Malformed);
    }
    let mut past = Vec::with_capacity(count);
    for _ in 0..count {
        past.push(Past { id: get_id(&mut rest)?, version: Version(get_ballot(&mut rest)?) });
    }
    let key = rest.split_to(key_bytes);
    if has_value == 0 && !rest.is_empty() {
        return Err(StateError::Malformed);
    }
    let value = (has_value == 1).then_some(rest);
    let content = Content { version, value, past, checksum };
    if accepted == Ballot::ZERO || accepted > promised || !content.is_intact(&key) {
        return Err(StateError::Malformed);
    }
    Ok(AcceptedRecord { key, promised, accepted, content })
}

/// Encodes the journal record of a promise.
pub(crate) fn encode_promise(key: &[u8], promised: Ballot) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + BALLOT_BYTES + key.len());
    out.put_u8(VERSION);
    put_ballot(&mut out, promised);
    out.put_slice(key);
    out.freeze()
}

/// Decodes the journal record of a promise: its key and ballot.
pub(crate) fn decode_promise(bytes: &Bytes) -> Result<(Bytes, Ballot), StateError> {
    let mut rest = of_version(bytes, VERSION)?;
    let promised = get_ballot(&mut rest)?;
    Ok((rest, promised))
}

const VERSION: u8 = 1;
/// Size of a state record without its variable parts.
const STATE_BYTES: usize = 36;
const PAST_BYTES: usize = ID_BYTES + BALLOT_BYTES;
/// Size of the record of what was accepted, without its variable parts.
const ACCEPTED_BYTES: usize = 57;
/// Largest size of everything in one write besides the value and the key.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = ACCEPTED_BYTES + PAST_MAX * PAST_BYTES + BALLOT_BYTES;

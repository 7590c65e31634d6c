//! The records that this crate writes, byte by byte. All numbers are little-endian.
//!
//! The state record:
//!
//! ```text
//!  0         1                   9                  17         25
//! +---------+-------------------+------------------+----------+---------------+
//! | version | promised round (8)| promised node (8)| round (8)| quorum system |
//! +---------+-------------------+------------------+----------+---------------+
//! ```
//!
//! The quorum system is the one with which the group was founded, in the form of [`QuorumSystem::encode`].
//!
//! The journal record of the accepted proposal (key 1). The record of the chosen proposal (key 2) is equal except that
//! it has no ballot:
//!
//! ```text
//!  0         1          9         17               33         37            45            49
//! +---------+----------+---------+----------------+----------+-------------+-------------+-------+
//! | version | round (8)| node (8)| incarnation(16)| start (4)| sequence (8)| checksum (4)| value |
//! +---------+----------+---------+----------------+----------+-------------+-------------+-------+
//! ```
//!
//! The checksum is the proposal's own, as its proposer made it: see [`Proposal`].

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::StateError;

use super::Proposal;
use super::state::{AcceptedValue, DurableState};
use crate::QuorumSystem;
use crate::codec::{BALLOT_BYTES, get_ballot, get_id, of_version, put_ballot, put_id};
use crate::quorum::SYSTEM_BYTES_MAX;

/// Encodes a state record.
pub(crate) fn encode_state(quorums: &[u8], state: &DurableState) -> Bytes {
    let mut out = BytesMut::with_capacity(STATE_BYTES + quorums.len());
    out.put_u8(VERSION);
    put_ballot(&mut out, state.promised);
    out.put_u64_le(state.round);
    out.put_slice(quorums);
    out.freeze()
}

/// Decodes a state record from all of `bytes`, with the quorum system with which the group was founded.
pub(crate) fn decode_state(bytes: &Bytes) -> Result<(QuorumSystem, DurableState), StateError> {
    let mut rest = of_version(bytes, VERSION)?;
    if bytes.len() < STATE_BYTES {
        return Err(StateError::Malformed);
    }
    let promised = get_ballot(&mut rest)?;
    let round = rest.get_u64_le();
    let quorums = QuorumSystem::decode(&rest)?;
    Ok((quorums, DurableState { promised, round }))
}

/// Encodes the journal record of the accepted proposal.
pub(crate) fn encode_accepted(accepted: &AcceptedValue) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + BALLOT_BYTES + PROPOSAL_BYTES + accepted.proposal.value.len());
    out.put_u8(VERSION);
    put_ballot(&mut out, accepted.ballot);
    put_proposal(&mut out, &accepted.proposal);
    out.freeze()
}

/// Decodes the accepted proposal. The value is a slice of `bytes`.
pub(crate) fn decode_accepted(bytes: &Bytes) -> Result<AcceptedValue, StateError> {
    let mut rest = of_version(bytes, VERSION)?;
    Ok(AcceptedValue { ballot: get_ballot(&mut rest)?, proposal: get_proposal(rest)? })
}

/// Encodes the journal record of the chosen proposal.
pub(crate) fn encode_chosen(chosen: &Proposal) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + PROPOSAL_BYTES + chosen.value.len());
    out.put_u8(VERSION);
    put_proposal(&mut out, chosen);
    out.freeze()
}

/// Decodes the chosen proposal. The value is a slice of `bytes`.
pub(crate) fn decode_chosen(bytes: &Bytes) -> Result<Proposal, StateError> {
    get_proposal(of_version(bytes, VERSION)?)
}

/// Journal key of the accepted proposal.
pub(crate) const ACCEPTED_KEY: u64 = 1;
/// Journal key of the chosen proposal.
pub(crate) const CHOSEN_KEY: u64 = 2;
/// Largest size of a state record and a journal record in one write, without the value.
pub(crate) const RECORDS_OVERHEAD_BYTES: usize = STATE_BYTES + SYSTEM_BYTES_MAX + 1 + BALLOT_BYTES + PROPOSAL_BYTES;

fn put_proposal(out: &mut BytesMut, proposal: &Proposal) {
    put_id(out, proposal.id);
    out.put_u32_le(proposal.checksum);
    out.put_slice(&proposal.value);
}

fn get_proposal(mut rest: Bytes) -> Result<Proposal, StateError> {
    if rest.len() < PROPOSAL_BYTES {
        return Err(StateError::Malformed);
    }
    let id = get_id(&mut rest)?;
    let checksum = rest.get_u32_le();
    let proposal = Proposal { id, checksum, value: rest };
    if proposal.is_intact() { Ok(proposal) } else { Err(StateError::Malformed) }
}

const VERSION: u8 = 1;
const PROPOSAL_BYTES: usize = 32;
/// Size of a state record up to the quorum system.
const STATE_BYTES: usize = 25;

//! Numbers and ids as the records of this crate contain them, little-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{Incarnation, NodeId, ProposalId, SessionId, StateError};

use crate::Ballot;

/// Size of a ballot in a record.
pub(crate) const BALLOT_BYTES: usize = 16;
/// Size of a proposal's id in a record.
pub(crate) const ID_BYTES: usize = 28;

pub(crate) fn put_ballot(out: &mut BytesMut, ballot: Ballot) {
    out.put_u64_le(ballot.round);
    out.put_u64_le(ballot.node.0);
}

pub(crate) fn get_ballot(rest: &mut Bytes) -> Result<Ballot, StateError> {
    if rest.len() < BALLOT_BYTES {
        return Err(StateError::Malformed);
    }
    Ok(Ballot { round: rest.get_u64_le(), node: NodeId(rest.get_u64_le()) })
}

pub(crate) fn put_id(out: &mut BytesMut, id: ProposalId) {
    out.put_u128_le(id.session.incarnation.0);
    out.put_u32_le(id.session.start);
    out.put_u64_le(id.sequence);
}

pub(crate) fn get_id(rest: &mut Bytes) -> Result<ProposalId, StateError> {
    if rest.len() < ID_BYTES {
        return Err(StateError::Malformed);
    }
    let session = SessionId { incarnation: Incarnation(rest.get_u128_le()), start: rest.get_u32_le() };
    Ok(ProposalId { session, sequence: rest.get_u64_le() })
}

/// The rest of a record of this version.
pub(crate) fn of_version(bytes: &Bytes, expected: u8) -> Result<Bytes, StateError> {
    let mut rest = bytes.clone();
    match rest.try_get_u8() {
        Ok(version) if version == expected => Ok(rest),
        Ok(version) => Err(StateError::Version(version)),
        Err(_) => Err(StateError::Malformed),
    }
}

//! The records of three-phase commit, byte by byte. All numbers are little-endian; the first byte is the version (1).
//!
//! ```text
//! state:    version | epoch (8)
//! site:     version | 1 | coordinator (8) | epoch (8) | sequence (8) | phase (1): 0 ready, 1 abort accepted,
//!           2 commit accepted, 3 aborted, 4 committed | elected: round (8), node (8) | attempted: round (8), node (8)
//!           | participants: count (2), node (8) each | payload (the rest)
//! finished: version | 2 | node (8) | epoch (8) | sequence (8)
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{NodeId, StateError};

use super::site::{Attempt, Phase, Site};
use crate::codec::{put_id, put_number, take_id, take_number, take_u64};
use crate::{Decision, Epoch, TransactionId, TransactionNumber};

/// Content of a record of the journal.
#[derive(Debug)]
pub(super) enum Record {
    /// A transaction. Its key is that of the record.
    Site(TransactionId, Box<Site>),
    /// All transactions that this node began below this number are over.
    Finished(NodeId, TransactionNumber),
}

pub(super) fn encode_state(epoch: Epoch) -> Bytes {
    let mut out = BytesMut::with_capacity(9);
    out.put_u8(VERSION);
    out.put_u64_le(epoch.0);
    out.freeze()
}

pub(super) fn decode_state(mut bytes: Bytes) -> Result<Epoch, StateError> {
    take_version(&mut bytes)?;
    let epoch = Epoch(bytes.try_get_u64_le().map_err(|_| StateError::Malformed)?);
    if bytes.is_empty() { Ok(epoch) } else { Err(StateError::Malformed) }
}

pub(super) fn encode_finished(node: NodeId, below: TransactionNumber) -> Bytes {
    let mut out = BytesMut::with_capacity(26);
    out.put_slice(&[VERSION, FINISHED]);
    out.put_u64_le(node.0);
    put_number(&mut out, below);
    out.freeze()
}

pub(super) fn encode_site(transaction: TransactionId, site: &Site) -> Bytes {
    let mut out = BytesMut::with_capacity(80 + 8 * site.participants.len() + site.payload.len());
    out.put_slice(&[VERSION, SITE]);
    put_id(&mut out, transaction);
    out.put_u8(match site.phase {
        Phase::Asked => unreachable!("nothing is written before the vote"),
        Phase::Ready => 0,
        Phase::Accepted(Decision::Abort) => 1,
        Phase::Accepted(Decision::Commit) => 2,
        Phase::Decided(Decision::Abort) => 3,
        Phase::Decided(Decision::Commit) => 4,
    });
    for attempt in [site.elected, site.attempted] {
        out.put_u64_le(attempt.round);
        out.put_u64_le(attempt.node.0);
    }
    out.put_u16_le(u16::try_from(site.participants.len()).expect("bounded by participants_max"));
    for node in &site.participants {
        out.put_u64_le(node.0);
    }
    out.put_slice(&site.payload);
    out.freeze()
}

/// Decodes the record with this key from all of `bytes`.
pub(super) fn decode(key: u64, mut bytes: Bytes) -> Result<Record, StateError> {
    take_version(&mut bytes)?;
    let rest = &mut bytes;
    match rest.try_get_u8() {
        Ok(SITE) => {
            let transaction = take_id(rest)?;
            let phase = match rest.try_get_u8() {
                Ok(0) => Phase::Ready,
                Ok(1) => Phase::Accepted(Decision::Abort),
                Ok(2) => Phase::Accepted(Decision::Commit),
                Ok(3) => Phase::Decided(Decision::Abort),
                Ok(4) => Phase::Decided(Decision::Commit),
                _ => return Err(StateError::Malformed),
            };
            let (elected, attempted) = (take_attempt(rest)?, take_attempt(rest)?);
            let count = rest.try_get_u16_le().map_err(|_| StateError::Malformed)?;
            let participants = (0..count).map(|_| take_u64(rest).map(NodeId)).collect::<Result<_, _>>()?;
            let mut site = Site::new(key, participants, bytes);
            (site.phase, site.elected, site.attempted) = (phase, elected, attempted);
            Ok(Record::Site(transaction, Box::new(site)))
        }
        Ok(FINISHED) => {
            let record = Record::Finished(NodeId(take_u64(rest)?), take_number(rest)?);
            if bytes.is_empty() { Ok(record) } else { Err(StateError::Malformed) }
        }
        _ => Err(StateError::Malformed),
    }
}

fn take_attempt(rest: &mut Bytes) -> Result<Attempt, StateError> {
    Ok(Attempt { round: take_u64(rest)?, node: NodeId(take_u64(rest)?) })
}

fn take_version(rest: &mut Bytes) -> Result<(), StateError> {
    match rest.try_get_u8() {
        Ok(VERSION) => Ok(()),
        Ok(version) => Err(StateError::Version(version)),
        Err(_) => Err(StateError::Malformed),
    }
}

const VERSION: u8 = 1;
const SITE: u8 = 1;
const FINISHED: u8 = 2;

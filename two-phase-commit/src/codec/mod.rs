//! The records that this crate writes, byte by byte: the state record, and the records of the journal.
//!
//! All begin with a version (1), and all numbers are little-endian. A transaction number is an epoch (8) and a sequence
//! (8). A transaction id is the coordinator (8) and the number.
//!
//! ```text
//! state:     version | epoch (8) | forgotten below (number)
//! commit:    version | 1 | number | writers: count (2), node (8) each
//! ended:     version | 2 | as commit
//! delegated: version | 3 | number | participant (8) | payload (the rest)
//! prepared:  version | 4 | id | participants: count (2), node (8) each | payload (the rest)
//! settled:   version | 5 | id | end: 0 abort, 1 commit, as decided; 2 abandoned; 3 abort, 4 commit, not as decided
//! known:     version | 6 | coordinator (8) | epoch (8) | finished below (number) | server (8)
//!                                | sum of: 1 if given up by an operator, 2 if the server is known (otherwise it is 0)
//! unfinished: version | 7 | coordinator (8) | finished until (number) | the numbers that are not (the rest), ascending
//! given up:  version | 8 | node (8)
//! forced:    version | 9 | id | done: 0 abort, 1 commit | participants: count (2), node (8) each | payload (the rest)
//! heuristic: version | 10 | id | done: 0 abort, 1 commit | decided: 0, 1, or 2 not known | participants: as above
//! mixed:     version | 11 | number | decision | count (2) | for each: node (8), 0 aborted, 1 committed, 2 lost
//! ```
//!
//! The key of a record only identifies its place: each transaction and role gets a new one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{NodeId, StateError};

use crate::state::{BranchEnd, DurableState};
use crate::{CoordinatorId, Decision, Deviation, Epoch, TransactionId, TransactionNumber};

/// Content of a record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A coordinator's decision to commit. Without this record, the decision is abort, or there is none.
    Commit { number: TransactionNumber, writers: BTreeSet<NodeId> },
    /// Every writer has committed.
    Ended { number: TransactionNumber, writers: BTreeSet<NodeId> },
    /// The coordinator left the decision to the participant.
    Delegated { number: TransactionNumber, participant: NodeId, payload: Bytes },
    /// A participant's vote of yes.
    Prepared { transaction: TransactionId, participants: BTreeSet<NodeId>, payload: Bytes },
    /// The end of a participant's branch.
    Settled { transaction: TransactionId, end: BranchEnd },
    /// The last stamp of a coordinator, and the node that sent it.
    Known(KnownRecord),
    /// The finished transactions of a coordinator although earlier ones are not: all below `until` except these.
    Unfinished { coordinator: CoordinatorId, until: TransactionNumber, unfinished: BTreeSet<TransactionNumber> },
    /// An operator has given this node up.
    GivenUp { node: NodeId },
    /// An operator's outcome of a branch that was in doubt. It is not carried out yet.
    Forced { transaction: TransactionId, decision: Decision, participants: BTreeSet<NodeId>, payload: Bytes },
    /// An operator's outcome of a branch, carried out, and the decision.
    Heuristic {
        transaction: TransactionId,
        forced: Decision,
        decision: Option<Decision>,
        participants: BTreeSet<NodeId>,
    },
    /// The coordinator knows that these participants did not do what was decided.
    Mixed { number: TransactionNumber, decision: Decision, deviations: BTreeMap<NodeId, Deviation> },
}

/// Content of [`Record::Known`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownRecord {
    pub(crate) coordinator: CoordinatorId,
    pub(crate) epoch: Epoch,
    /// The node that serves the coordinator.
    pub(crate) server: Option<NodeId>,
    pub(crate) finished_below: TransactionNumber,
    /// True if an operator has given the coordinator up.
    pub(crate) is_forgotten: bool,
}

/// Size of a record of [`Record::Known`].
pub(crate) const KNOWN_BYTES: usize = 2 + 8 + 8 + NUMBER_BYTES + 8 + 1;
/// Size of a transaction number in a record.
pub(crate) const NUMBER_BYTES: usize = 16;
/// Size of a state record.
pub(crate) const STATE_BYTES: usize = 1 + 8 + NUMBER_BYTES;

impl Record {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        self.put(&mut out);
        out.freeze()
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Commit { number, writers } => {
                out.put_u8(COMMIT);
                put_number(out, *number);
                put_nodes(out, writers);
            }
            Self::Ended { number, writers } => {
                out.put_u8(ENDED);
                put_number(out, *number);
                put_nodes(out, writers);
            }
            Self::Delegated { number, participant, payload } => {
                out.put_u8(DELEGATED);
                put_number(out, *number);
                out.put_u64_le(participant.0);
                out.put_slice(payload);
            }
            Self::Prepared { transaction, participants, payload } => {
                out.put_u8(PREPARED);
                put_id(out, *transaction);
                put_nodes(out, participants);
                out.put_slice(payload);
            }
            Self::Settled { transaction, end } => {
                out.put_u8(SETTLED);
                put_id(out, *transaction);
                out.put_u8(match end {
                    BranchEnd::Decided(Decision::Abort) => 0,
                    BranchEnd::Decided(Decision::Commit) => 1,
                    BranchEnd::Abandoned => 2,
                    BranchEnd::Heuristic(Decision::Abort) => 3,
                    BranchEnd::Heuristic(Decision::Commit) => 4,
                    BranchEnd::ReadOnly => unreachable!("nothing is recorded of a read-only branch"),
                });
            }
            Self::Known(known) => {
                out.put_u8(KNOWN);
                out.put_u64_le(known.coordinator.0);
                out.put_u64_le(known.epoch.0);
                put_number(out, known.finished_below);
                out.put_u64_le(known.server.unwrap_or_default().0);
                out.put_u8(u8::from(known.is_forgotten) | u8::from(known.server.is_some()) << 1);
            }
            Self::Unfinished { coordinator, until, unfinished } => {
                out.put_u8(UNFINISHED);
                out.put_u64_le(coordinator.0);
                put_number(out, *until);
                for number in unfinished {
                    put_number(out, *number);
                }
            }
            Self::GivenUp { node } => {
                out.put_u8(GIVEN_UP);
                out.put_u64_le(node.0);
            }
            Self::Forced { .. } | Self::Heuristic { .. } | Self::Mixed { .. } => self.put_heuristic(out),
        }
    }

    fn put_heuristic(&self, out: &mut BytesMut) {
        match self {
            Self::Forced { transaction, decision, participants, payload } => {
                out.put_u8(FORCED);
                put_id(out, *transaction);
                out.put_u8(byte_of(*decision));
                put_nodes(out, participants);
                out.put_slice(payload);
            }
            Self::Heuristic { transaction, forced, decision, participants } => {
                out.put_u8(HEURISTIC);
                put_id(out, *transaction);
                out.put_u8(byte_of(*forced));
                out.put_u8(decision.map_or(2, byte_of));
                put_nodes(out, participants);
            }
            Self::Mixed { number, decision, deviations } => {
                out.put_u8(MIXED);
                put_number(out, *number);
                out.put_u8(byte_of(*decision));
                out.put_u16_le(u16::try_from(deviations.len()).expect("bounded by participants_max"));
                for (node, deviation) in deviations {
                    out.put_u64_le(node.0);
                    out.put_u8(match deviation {
                        Deviation::Aborted => 0,
                        Deviation::Committed => 1,
                        Deviation::Lost => 2,
                    });
                }
            }
            _ => {}
        }
    }

    /// Decodes a record from all of `bytes`.
    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, StateError> {
        take_version(&mut bytes)?;
        let rest = &mut bytes;
        let record = match rest.try_get_u8().map_err(|_| StateError::Malformed)? {
            COMMIT => Self::Commit { number: take_number(rest)?, writers: take_nodes(rest)? },
            ENDED => Self::Ended { number: take_number(rest)?, writers: take_nodes(rest)? },
            DELEGATED => {
                let (number, participant) = (take_number(rest)?, NodeId(take_u64(rest)?));
                return Ok(Self::Delegated { number, participant, payload: bytes });
            }
            PREPARED => {
                let (transaction, participants) = (take_id(rest)?, take_nodes(rest)?);
                return Ok(Self::Prepared { transaction, participants, payload: bytes });
            }
            SETTLED => {
                let transaction = take_id(rest)?;
                let end = match rest.try_get_u8() {
                    Ok(0) => BranchEnd::Decided(Decision::Abort),
                    Ok(1) => BranchEnd::Decided(Decision::Commit),
                    Ok(2) => BranchEnd::Abandoned,
                    Ok(3) => BranchEnd::Heuristic(Decision::Abort),
                    Ok(4) => BranchEnd::Heuristic(Decision::Commit),
                    Ok(end) => return Err(StateError::Kind(end)),
                    Err(_) => return Err(StateError::Malformed),
                };
                Self::Settled { transaction, end }
            }
            KNOWN => Self::Known(take_known(rest)?),
            UNFINISHED => {
                let (coordinator, until) = (CoordinatorId(take_u64(rest)?), take_number(rest)?);
                let mut unfinished = BTreeSet::new();
                while rest.has_remaining() {
                    unfinished.insert(take_number(rest)?);
                }
                Self::Unfinished { coordinator, until, unfinished }
            }
            GIVEN_UP => Self::GivenUp { node: NodeId(take_u64(rest)?) },
            FORCED => {
                let (transaction, decision) = (take_id(rest)?, take_decision(rest)?);
                let participants = take_nodes(rest)?;
                return Ok(Self::Forced { transaction, decision, participants, payload: bytes });
            }
            HEURISTIC => {
                let (transaction, forced) = (take_id(rest)?, take_decision(rest)?);
                let decision = if rest.first() == Some(&2) {
                    rest.advance(1);
                    None
                } else {
                    Some(take_decision(rest)?)
                };
                Self::Heuristic { transaction, forced, decision, participants: take_nodes(rest)? }
            }
            MIXED => {
                let (number, decision) = (take_number(rest)?, take_decision(rest)?);
                Self::Mixed { number, decision, deviations: take_deviations(rest)? }
            }
            kind => return Err(StateError::Kind(kind)),
        };
        if bytes.is_empty() { Ok(record) } else { Err(StateError::Malformed) }
    }
}

/// Encodes a state record.
pub(crate) fn encode_state(state: &DurableState) -> Bytes {
    let mut out = BytesMut::with_capacity(STATE_BYTES);
    out.put_u8(VERSION);
    out.put_u64_le(state.epoch.0);
    put_number(&mut out, state.forgotten_below);
    out.freeze()
}

/// Decodes a state record from all of `bytes`.
pub(crate) fn decode_state(mut bytes: Bytes) -> Result<DurableState, StateError> {
    take_version(&mut bytes)?;
    let epoch = Epoch(take_u64(&mut bytes)?);
    let forgotten_below = take_number(&mut bytes)?;
    if bytes.is_empty() { Ok(DurableState { epoch, forgotten_below }) } else { Err(StateError::Malformed) }
}

fn take_version(rest: &mut Bytes) -> Result<(), StateError> {
    match rest.try_get_u8() {
        Ok(VERSION) => Ok(()),
        Ok(version) => Err(StateError::Version(version)),
        Err(_) => Err(StateError::Malformed),
    }
}

pub(crate) fn put_number(out: &mut BytesMut, number: TransactionNumber) {
    out.put_u64_le(number.epoch.0);
    out.put_u64_le(number.sequence);
}

pub(crate) fn take_number(rest: &mut Bytes) -> Result<TransactionNumber, StateError> {
    Ok(TransactionNumber { epoch: Epoch(take_u64(rest)?), sequence: take_u64(rest)? })
}

pub(crate) fn put_id(out: &mut BytesMut, transaction: TransactionId) {
    out.put_u64_le(transaction.coordinator.0);
    put_number(out, transaction.number);
}

pub(crate) fn take_id(rest: &mut Bytes) -> Result<TransactionId, StateError> {
    Ok(TransactionId { coordinator: CoordinatorId(take_u64(rest)?), number: take_number(rest)? })
}

fn byte_of(decision: Decision) -> u8 {
    u8::from(decision == Decision::Commit)
}

fn take_decision(rest: &mut Bytes) -> Result<Decision, StateError> {
    match rest.try_get_u8() {
        Ok(0) => Ok(Decision::Abort),
        Ok(1) => Ok(Decision::Commit),
        Ok(kind) => Err(StateError::Kind(kind)),
        Err(_) => Err(StateError::Malformed),
    }
}

fn take_deviations(rest: &mut Bytes) -> Result<BTreeMap<NodeId, Deviation>, StateError> {
    let count = rest.try_get_u16_le().map_err(|_| StateError::Malformed)?;
    let one = |_| {
        let node = NodeId(take_u64(rest)?);
        match rest.try_get_u8() {
            Ok(0) => Ok((node, Deviation::Aborted)),
            Ok(1) => Ok((node, Deviation::Committed)),
            Ok(2) => Ok((node, Deviation::Lost)),
            Ok(kind) => Err(StateError::Kind(kind)),
            Err(_) => Err(StateError::Malformed),
        }
    };
    (0..count).map(one).collect()
}

fn take_known(rest: &mut Bytes) -> Result<KnownRecord, StateError> {
    let (coordinator, epoch) = (CoordinatorId(take_u64(rest)?), Epoch(take_u64(rest)?));
    let (finished_below, server) = (take_number(rest)?, NodeId(take_u64(rest)?));
    let (is_forgotten, server) = match rest.try_get_u8() {
        Ok(flags @ (0 | 1)) if server == NodeId(0) => (flags == 1, None),
        Ok(flags @ (2 | 3)) => (flags == 3, Some(server)),
        _ => return Err(StateError::Malformed),
    };
    Ok(KnownRecord { coordinator, epoch, server, finished_below, is_forgotten })
}

fn put_nodes(out: &mut BytesMut, nodes: &BTreeSet<NodeId>) {
    out.put_u16_le(u16::try_from(nodes.len()).expect("bounded by participants_max"));
    for node in nodes {
        out.put_u64_le(node.0);
    }
}

fn take_nodes(rest: &mut Bytes) -> Result<BTreeSet<NodeId>, StateError> {
    let count = rest.try_get_u16_le().map_err(|_| StateError::Malformed)?;
    (0..count).map(|_| take_u64(rest).map(NodeId)).collect()
}

pub(crate) fn take_u64(rest: &mut Bytes) -> Result<u64, StateError> {
    rest.try_get_u64_le().map_err(|_| StateError::Malformed)
}

const VERSION: u8 = 1;
const COMMIT: u8 = 1;
const ENDED: u8 = 2;
const DELEGATED: u8 = 3;
const PREPARED: u8 = 4;
const SETTLED: u8 = 5;
const KNOWN: u8 = 6;
const UNFINISHED: u8 = 7;
const GIVEN_UP: u8 = 8;
const FORCED: u8 = 9;
const HEURISTIC: u8 = 10;
const MIXED: u8 = 11;

#[cfg(test)]
mod tests;

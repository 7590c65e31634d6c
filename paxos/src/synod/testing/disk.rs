//! The content of one node's stream of the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_protocol::{Operation, Recovery};

use crate::Ballot;
use crate::synod::Proposal;
use crate::synod::codec::{ACCEPTED_KEY, CHOSEN_KEY, decode_accepted, decode_chosen, decode_state};

/// A stream of the log. The cluster applies a write to it when the write completes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    /// The newest state record.
    pub state: Option<Bytes>,
    /// The newest journal record of each key.
    pub journal: BTreeMap<u64, Bytes>,
}

/// The part of the current write that a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PowerCut {
    /// Nothing.
    Lost,
    /// The state record only: recovery may adopt it from an incomplete batch.
    StateAlone,
    /// The whole write, although no one was told that it is durable.
    Whole,
}

impl Disk {
    /// Carries out one write.
    ///
    /// # Panics
    /// When the core asks for operations that it must not use.
    pub fn write(&mut self, operations: &[Operation]) {
        for operation in operations {
            match operation {
                Operation::PutState { bytes, .. } => {
                    assert!(bytes.len() <= quorate_protocol::STATE_BYTES_MAX, "a state record fits a sector");
                    self.state = Some(bytes.clone());
                }
                Operation::Journal { key, bytes } => {
                    assert!(!bytes.is_empty(), "no record is ever taken away");
                    self.journal.insert(*key, bytes.clone());
                }
                other => panic!("this core has no business with {other:?}"),
            }
        }
    }

    /// Carries out the part of one write that a power cut leaves.
    pub fn cut(&mut self, operations: &[Operation], left: PowerCut) {
        match left {
            PowerCut::Lost => {}
            PowerCut::StateAlone => {
                let states = operations.iter().filter(|operation| matches!(operation, Operation::PutState { .. }));
                let states: Vec<Operation> = states.cloned().collect();
                self.write(&states);
            }
            PowerCut::Whole => self.write(operations),
        }
    }

    /// The content that a core gets when it starts.
    pub fn recovery(&self) -> Recovery {
        let records: Vec<_> = self.journal.iter().map(|(key, bytes)| Ok((*key, bytes.clone()))).collect();
        Recovery { state: self.state.clone(), journal: Some(Box::new(records.into_iter())), ..Recovery::default() }
    }

    /// The ballot that is durably promised.
    pub fn promised(&self) -> Ballot {
        self.state.as_ref().and_then(|bytes| decode_state(bytes).ok()).map_or(Ballot::ZERO, |(_, state)| state.promised)
    }

    /// The last durable round of the node's own ballots.
    pub fn round(&self) -> u64 {
        self.state.as_ref().and_then(|bytes| decode_state(bytes).ok()).map_or(0, |(_, state)| state.round)
    }

    /// The durably accepted proposal, with its ballot.
    pub fn accepted(&self) -> Option<(Ballot, Proposal)> {
        let accepted = decode_accepted(self.journal.get(&ACCEPTED_KEY)?).ok()?;
        Some((accepted.ballot, accepted.proposal))
    }

    /// The proposal that is durably known to be chosen.
    pub fn chosen(&self) -> Option<Proposal> {
        decode_chosen(self.journal.get(&CHOSEN_KEY)?).ok()
    }
}

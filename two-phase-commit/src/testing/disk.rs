//! State that survives a crash: the newest record of each key, and the state record.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_protocol::{Operation, Recovery};

use crate::codec::{Record, decode_state};
use crate::state::DurableState;

/// A journal of one node under test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    state: Option<Bytes>,
    /// Each key's newest record, with the time of its write.
    records: BTreeMap<u64, (u64, Bytes)>,
    /// The decoded records.
    decoded: BTreeMap<u64, Record>,
    checkpoint: Option<u64>,
    begun: BTreeMap<u64, u64>,
    written: u64,
    /// Everything that was ever written, in order.
    pub history: Vec<Operation>,
}

impl Disk {
    /// Makes all operations durable.
    ///
    /// # Panics
    /// When they are not those of a journal.
    pub fn write(&mut self, operations: &[Operation]) {
        for operation in operations {
            self.written += 1;
            self.history.push(operation.clone());
            match operation {
                Operation::Journal { key, bytes } if bytes.is_empty() => {
                    self.records.remove(key);
                    self.decoded.remove(key);
                }
                Operation::Journal { key, bytes } => {
                    self.records.insert(*key, (self.written, bytes.clone()));
                    let record = Record::decode(bytes.clone()).expect("a core wrote it");
                    self.decoded.insert(*key, record);
                }
                Operation::PutState { bytes, .. } => self.state = Some(bytes.clone()),
                Operation::CheckpointBegin { id } => {
                    self.begun.insert(*id, self.written);
                }
                Operation::CheckpointDone { id } => {
                    let mark = self.begun.remove(id).expect("a checkpoint is begun before it is done");
                    self.records.retain(|_, (written, _)| *written > mark);
                    self.decoded.retain(|key, _| self.records.contains_key(key));
                    self.checkpoint = Some(*id);
                }
                other => panic!("a journal has no {other:?}"),
            }
        }
    }

    /// The content that a core gets when it starts.
    pub fn recovery(&self) -> Recovery {
        let mut records: Vec<(u64, u64, Bytes)> =
            self.records.iter().map(|(key, (written, bytes))| (*written, *key, bytes.clone())).collect();
        records.sort_unstable_by_key(|(written, ..)| *written);
        let records = records.into_iter().map(|(_, key, bytes)| Ok((key, bytes)));
        Recovery {
            state: self.state.clone(),
            checkpoint: self.checkpoint,
            journal: Some(Box::new(records)),
            ..Recovery::default()
        }
    }

    /// The decoded records.
    pub(super) fn decoded(&self) -> impl Iterator<Item = &Record> {
        self.decoded.values()
    }

    /// The decoded state record; the default if there is none.
    pub(super) fn decoded_state(&self) -> DurableState {
        self.state.clone().map(|bytes| decode_state(bytes).expect("a core wrote it")).unwrap_or_default()
    }

    /// Number of records of transactions.
    pub fn records(&self) -> usize {
        let is_of_one = |record: &&Record| !matches!(record, Record::Known { .. } | Record::Unfinished { .. });
        self.decoded().filter(|record| is_of_one(record)).count()
    }
}

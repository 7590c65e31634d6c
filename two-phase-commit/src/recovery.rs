//! The content of the log at the start of a node.

use std::collections::BTreeMap;

use quorate_protocol::{RecoverError, Recovery};

use crate::codec::{Record, decode_state};
use crate::journal::KeyedRecord;
use crate::state::DurableState;

/// The content of the log, decoded.
pub(crate) struct Recovered {
    pub(crate) state: DurableState,
    /// The newest record of each key, by key.
    pub(crate) records: Vec<KeyedRecord>,
    /// Above every key that was ever in use.
    pub(crate) next_key: u64,
    pub(crate) next_checkpoint: u64,
}

impl Recovered {
    pub(crate) fn read(recovery: Recovery) -> Result<Self, RecoverError> {
        let next_checkpoint = recovery.checkpoint.map_or(Some(0), |id| id.checked_add(1)).ok_or(RAN_OUT)?;
        let state = recovery.state.map(decode_state).transpose().map_err(RecoverError::State)?;
        // An older record of a key does not count, but the log may still return it.
        let (mut newest, mut next_key) = (BTreeMap::new(), 0);
        for record in recovery.journal.into_iter().flatten() {
            let (key, bytes) = record?;
            next_key = next_key.max(key.checked_add(1).ok_or(RAN_OUT)?);
            if bytes.is_empty() {
                newest.remove(&key);
            } else {
                newest.insert(key, bytes);
            }
        }
        if state.is_none() && !newest.is_empty() {
            return Err(RecoverError::Inconsistent("there are records of transactions and no state record"));
        }
        let decode =
            |(key, bytes)| Ok(KeyedRecord { key, record: Record::decode(bytes).map_err(RecoverError::State)? });
        let records = newest.into_iter().map(decode).collect::<Result<_, _>>()?;
        Ok(Self { state: state.unwrap_or_default(), records, next_key, next_checkpoint })
    }
}

/// There is one record of each transaction and role, and one of each kind for a coordinator.
pub(crate) const TWO_RECORDS: RecoverError = RecoverError::Inconsistent("there are two records of one transaction");
const RAN_OUT: RecoverError = RecoverError::Inconsistent("the numbers of records or checkpoints have run out");

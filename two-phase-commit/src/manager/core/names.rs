//! The identity of the manager and the names of its resources, kept in the log.
//!
//! The identity is that which the first manager on this log was given. Each later one takes it from here, wherever it
//! runs. The names are for tools that read the log when no manager runs.
//!
//! ```text
//! names: version (1) | cluster (16) | log (8) | for each: id (8), length (2), the name in UTF-8
//! ```
//!
//! The record has a key of its own, far above those of the protocol's records. It is written with the first write of a
//! start, before any transaction of that start, and again in each checkpoint.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_protocol::{ClusterId, Operation, RecoverError, Recovery, StateError, Ticket};

use super::settings::ManagerConfig;
use crate::manager::{ManagerId, ResourceId};

/// The identity of the manager, and the names of all resources that the log has ever known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    manager: ManagerId,
    resources: BTreeMap<ResourceId, String>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The record joins the next write.
    Unwritten,
    /// The record is part of this write.
    Written(Ticket),
    Durable,
}

impl Names {
    /// Takes the record out of the content of the log, and adds the names of the configured resources. Without a record
    /// the identity is that of the configuration.
    pub(super) fn recover(recovery: &mut Recovery, config: &ManagerConfig) -> Result<Self, RecoverError> {
        let (mut rest, mut newest) = (Vec::new(), Bytes::new());
        for record in recovery.journal.take().into_iter().flatten() {
            let (key, bytes) = record?;
            if key == NAMES_KEY { newest = bytes } else { rest.push(Ok((key, bytes))) }
        }
        if !rest.is_empty() {
            recovery.journal = Some(Box::new(rest.into_iter()));
        }
        let none = || (config.id(), BTreeMap::new());
        let (manager, mut names) =
            if newest.is_empty() { none() } else { decode(newest).map_err(RecoverError::State)? };
        for (id, name) in config.resources() {
            match names.insert(*id, name.clone()) {
                Some(before) if before != *name => {
                    return Err(RecoverError::Inconsistent("two names of resources have the same id"));
                }
                _ => {}
            }
        }
        Ok(Self { manager, resources: names, state: State::Unwritten })
    }

    /// The identity of the manager.
    pub(super) fn manager(&self) -> ManagerId {
        self.manager
    }

    /// The resources that the log has known.
    pub(super) fn known(&self) -> impl Iterator<Item = ResourceId> + '_ {
        self.resources.keys().copied()
    }

    /// The name of a resource that the log has known.
    pub(super) fn of(&self, resource: ResourceId) -> Option<&str> {
        self.resources.get(&resource).map(String::as_str)
    }

    /// Adds the record to a write if it belongs there: to the first one, and after the mark of a checkpoint.
    pub(super) fn join(&mut self, ticket: Ticket, operations: &mut Vec<Operation>) {
        let record = || Operation::Journal { key: NAMES_KEY, bytes: encode(self.manager, &self.resources) };
        let mark = operations.iter().position(|operation| matches!(operation, Operation::CheckpointBegin { .. }));
        if let Some(mark) = mark {
            operations.insert(mark + 1, record());
        } else if self.state != State::Durable {
            operations.push(record());
        }
        if self.state != State::Durable {
            self.state = State::Written(ticket);
        }
    }

    /// Every write up to this one is durable.
    pub(super) fn persisted(&mut self, ticket: Ticket) {
        if matches!(self.state, State::Written(written) if written <= ticket) {
            self.state = State::Durable;
        }
    }
}

fn encode(manager: ManagerId, names: &BTreeMap<ResourceId, String>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    out.put_u128_le(manager.cluster.0);
    out.put_u64_le(manager.log);
    for (id, name) in names {
        out.put_u64_le(id.0);
        out.put_u16_le(u16::try_from(name.len()).expect("checked when the resource was described"));
        out.put_slice(name.as_bytes());
    }
    out.freeze()
}

fn decode(mut bytes: Bytes) -> Result<(ManagerId, BTreeMap<ResourceId, String>), StateError> {
    match bytes.try_get_u8().map_err(|_| StateError::Malformed)? {
        VERSION => {}
        version if version > VERSION => return Err(StateError::Version(version)),
        _ => return Err(StateError::Malformed),
    }
    let cluster = ClusterId(bytes.try_get_u128_le().map_err(|_| StateError::Malformed)?);
    let log = bytes.try_get_u64_le().map_err(|_| StateError::Malformed)?;
    let mut names = BTreeMap::new();
    while !bytes.is_empty() {
        let id = bytes.try_get_u64_le().map_err(|_| StateError::Malformed)?;
        let length = usize::from(bytes.try_get_u16_le().map_err(|_| StateError::Malformed)?);
        if bytes.len() < length {
            return Err(StateError::Malformed);
        }
        let name = String::from_utf8(bytes.split_to(length).to_vec()).map_err(|_| StateError::Malformed)?;
        if names.insert(ResourceId(id), name).is_some() {
            return Err(StateError::Malformed);
        }
    }
    Ok((ManagerId { cluster, log }, names))
}

const VERSION: u8 = 1;
/// Key of the record. The protocol counts its keys up from zero, and never gets here.
pub(crate) const NAMES_KEY: u64 = u64::MAX;
/// Longest name of a resource in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;

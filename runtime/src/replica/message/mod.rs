//! Messages between replicas: forwarded proposals on channel 4, snapshots on channel 2.
//!
//! | Message | from | to | answered by |
//! | --- | --- | --- | --- |
//! | [`ReplicaMessage::Forward`] | a replica with a proposal | the leader | `Answers`, once each outcome is known |
//! | [`ReplicaMessage::Answers`] | the former or present leader | the replica that forwarded | nothing |
//! | [`SnapshotMessage::Piece`] | the leader | a lagging replica | `Progress`, once it is written |
//! | [`SnapshotMessage::Progress`] | a lagging replica | the leader | the pieces from there on |
//! | [`SnapshotMessage::Durable`] | a lagging replica | the leader | nothing |
//! | [`SnapshotMessage::GivenUp`] | a lagging replica | the leader | nothing |
//! | [`SnapshotMessage::Damaged`] | a lagging replica | the leader | nothing |
//!
//! Variants are only appended, and a variant's fields never change.

use bytes::Bytes;
use quorate_protocol::{
    ConfigurationError, EntryKind, LogIndex, NodeId, RefuseReason, SessionId, Term, Wire, WireError,
};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// A message on the replicas' channel: the small part, and the payloads that the lengths in it divide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplicaEnvelope {
    pub(super) message: ReplicaMessage,
    /// The commands or responses in a row.
    pub(super) payloads: Bytes,
}

/// Messages about forwarded proposals, listed in the docs of the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ReplicaMessage {
    /// Proposals of one replica for the leader. It proposes them, or answers why it does not. It never forwards them.
    Forward {
        /// The feature level at which the commands were made.
        level: u32,
        /// The session that proposes them.
        session: SessionId,
        proposals: Vec<Forwarded>,
    },
    /// The outcomes of forwarded proposals.
    Answers {
        /// The feature level at which the responses were made.
        level: u32,
        /// The session that proposed them.
        session: SessionId,
        answers: Vec<ForwardAnswer>,
    },
}

/// One forwarded proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Forwarded {
    pub(super) kind: ForwardedKind,
    pub(super) sequence: u64,
    pub(super) acknowledged_below: u64,
    /// CRC-32C of the command.
    pub(super) checksum: u32,
    /// Bytes of the command.
    pub(super) length: u32,
}

/// The kinds that may be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ForwardedKind {
    Command,
    SessionOpen,
    SessionClose,
}

/// The outcome of one forwarded proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ForwardAnswer {
    pub(super) sequence: u64,
    pub(super) verdict: ForwardVerdict,
}

/// The outcome of a forwarded proposal, without its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ForwardVerdict {
    /// Applied, with a response of this length.
    Applied { length: u32 },
    /// Applied before. The response is no longer kept.
    ResponseForgotten,
    /// Not applied: there was no such session when the entry was reached.
    SessionExpired,
    /// Not applied: it was behind or beyond the session's window.
    OutsideWindow,
    /// Not applied: another entry was committed in its place.
    Superseded,
    /// Not applied: the leader runs at the feature level of the answer.
    FeatureLevel,
    /// Not appended.
    Refused { reason: WireRefusal, leader: Option<NodeId> },
}

/// A [`RefuseReason`] in the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WireRefusal {
    NotLeader,
    Transferring,
    Overloaded,
    TooLarge,
    DiskFull,
    ConfigurationPending,
    ConfigurationInvalid,
    Halted,
}

/// A message on the snapshots' channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SnapshotEnvelope {
    /// The leader's term.
    pub(super) term: Term,
    pub(super) id: SnapshotId,
    pub(super) message: SnapshotMessage,
    /// The content of a piece; empty in other messages.
    pub(super) content: Bytes,
}

/// The identity of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SnapshotId {
    pub(super) index: LogIndex,
    pub(super) term: Term,
}

/// Messages about snapshots, listed in the docs of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SnapshotMessage {
    /// A piece of the content.
    Piece {
        offset: u64,
        /// Bytes of the whole content.
        length: u64,
        /// CRC-32C of the whole content.
        checksum: u32,
    },
    /// The content has arrived up to `offset`. The sender continues from there.
    Progress { offset: u64, flow: Flow },
    /// The snapshot is durable and verified.
    Durable,
    /// The snapshot could not be kept. It may be sent again.
    GivenUp,
    /// All of it arrived, but the checksum does not match. The sender verifies its own copy.
    Damaged,
}

/// State of the pieces that are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Flow {
    /// They are still of use.
    Steady,
    /// A piece is missing, so everything after it must be sent again.
    Broken,
}

impl Wire for ReplicaEnvelope {
    type Small = ReplicaMessage;

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> ReplicaMessage {
        raw.push(self.payloads.clone());
        self.message.clone()
    }

    fn from_parts(message: ReplicaMessage, raw: Vec<Bytes>) -> Result<Self, WireError> {
        let [payloads] = raw.try_into().map_err(|_| WireError::Sections)?;
        let lengths: u64 = match &message {
            ReplicaMessage::Forward { proposals, .. } => proposals.iter().map(|one| u64::from(one.length)).sum(),
            ReplicaMessage::Answers { answers, .. } => answers.iter().map(|one| one.verdict.length()).sum(),
        };
        if usize::try_from(lengths) != Ok(payloads.len()) {
            return Err(WireError::Malformed("lengths of payloads"));
        }
        Ok(Self { message, payloads })
    }
}

impl ForwardVerdict {
    fn length(self) -> u64 {
        if let Self::Applied { length } = self { u64::from(length) } else { 0 }
    }
}

impl Wire for SnapshotEnvelope {
    type Small = (Term, SnapshotId, SnapshotMessage);

    fn to_parts(&self, raw: &mut Vec<Bytes>) -> Self::Small {
        if !self.content.is_empty() {
            raw.push(self.content.clone());
        }
        (self.term, self.id, self.message)
    }

    fn from_parts((term, id, message): Self::Small, mut raw: Vec<Bytes>) -> Result<Self, WireError> {
        let is_piece = matches!(message, SnapshotMessage::Piece { .. });
        if raw.len() != usize::from(is_piece) {
            return Err(WireError::Sections);
        }
        let content = raw.pop().unwrap_or_default();
        if content.is_empty() == is_piece {
            return Err(WireError::Malformed("empty piece"));
        }
        if let SnapshotMessage::Piece { offset, length, .. } = message {
            let end = u64::try_from(content.len()).ok().and_then(|bytes| offset.checked_add(bytes));
            if end.is_none_or(|end| end > length) {
                return Err(WireError::Malformed("piece beyond the content"));
            }
        }
        Ok(Self { term, id, message, content })
    }
}

impl ForwardedKind {
    /// Returns the kind as it is forwarded; `None` for kinds that only a leader proposes.
    pub(super) fn of(kind: EntryKind) -> Option<Self> {
        match kind {
            EntryKind::Command => Some(Self::Command),
            EntryKind::SessionOpen => Some(Self::SessionOpen),
            EntryKind::SessionClose => Some(Self::SessionClose),
            _ => None,
        }
    }

    /// Returns the kind as it is proposed.
    pub(super) fn entry_kind(self) -> EntryKind {
        match self {
            Self::Command => EntryKind::Command,
            Self::SessionOpen => EntryKind::SessionOpen,
            Self::SessionClose => EntryKind::SessionClose,
        }
    }
}

impl From<RefuseReason> for WireRefusal {
    fn from(reason: RefuseReason) -> Self {
        match reason {
            RefuseReason::Transferring => Self::Transferring,
            RefuseReason::Overloaded => Self::Overloaded,
            RefuseReason::TooLarge => Self::TooLarge,
            RefuseReason::DiskFull => Self::DiskFull,
            RefuseReason::ConfigurationPending => Self::ConfigurationPending,
            RefuseReason::ConfigurationInvalid(_) => Self::ConfigurationInvalid,
            RefuseReason::Halted => Self::Halted,
            // To a node that does not know the other reasons, they mean only that this node accepts no proposals.
            _ => Self::NotLeader,
        }
    }
}

impl From<WireRefusal> for RefuseReason {
    fn from(reason: WireRefusal) -> Self {
        match reason {
            WireRefusal::NotLeader => Self::NotLeader,
            WireRefusal::Transferring => Self::Transferring,
            WireRefusal::Overloaded => Self::Overloaded,
            WireRefusal::TooLarge => Self::TooLarge,
            WireRefusal::DiskFull => Self::DiskFull,
            WireRefusal::ConfigurationPending => Self::ConfigurationPending,
            // No node forwards a change of members, so the reason does not travel.
            WireRefusal::ConfigurationInvalid => Self::ConfigurationInvalid(ConfigurationError::Malformed),
            WireRefusal::Halted => Self::Halted,
        }
    }
}

//! What nodes say to each other on channel 1, below all groups.

use quorate_protocol::{GroupId, Incarnation};
use serde::{Deserialize, Serialize};

use super::founding::FoundingRun;
use super::roster::Start;

/// A message between nodes. Variants are only appended, and a variant's fields never change.
///
/// ```text
/// n1                                               n2
///  | Hello { what I know of you, my start }  -->    |   writes n1's incarnation and start down, unless it has another
///  | <--  Known { your newest start } | Mismatch    |   once that is durable
/// ```
///
/// Both ends do this at each start; a pair is introduced when each has the other's incarnation durable and knows that
/// the other has its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum NodeMessage {
    /// Asks to be introduced. From any node, until it is answered in this start; answered by `Known` or `Mismatch`.
    Hello {
        /// What the sender durably knows of the receiver.
        known: Option<Incarnation>,
        /// The sender's start.
        start: Start,
        /// The sender runs on an older copy of its disk.
        is_older: bool,
        /// What the sender's groups were founded with.
        foundings: Vec<FoundingRun>,
    },
    /// The sender has the receiver durable under this incarnation.
    Known {
        /// The receiver's incarnation; an answer to its predecessor bears another.
        incarnation: Incarnation,
        /// The newest start of the receiver that the sender has durable.
        start: Start,
        /// The sender has it durable that the receiver runs on an older copy of its disk.
        is_older: bool,
        /// What the sender's groups were founded with.
        foundings: Vec<FoundingRun>,
    },
    /// The sender durably knows another incarnation under the receiver's id.
    Mismatch {
        /// That incarnation.
        known: Incarnation,
        /// What the sender's groups were founded with.
        foundings: Vec<FoundingRun>,
    },
    /// Nothing else was to say for a heartbeat interval. Stands in for all idle groups.
    Alive,
}

/// Small frames of several groups in one, on a channel of their own next to those of the groups: so they stay in order
/// with the frames that go alone. The sections lie back to back in the raw section: of each frame first the small one,
/// then the raw ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bundle {
    /// The frames, in the order they were sent.
    pub(super) frames: Vec<Bundled>,
}

/// Where a frame of a bundle goes, and how long its sections are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bundled {
    /// The frame's channel.
    pub(super) channel: u16,
    /// The frame's group.
    pub(super) group: GroupId,
    /// Bytes of the small section.
    pub(super) small: u32,
    /// Bytes of each raw section.
    pub(super) raw: Vec<u32>,
}

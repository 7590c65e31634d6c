//! Messages between nodes on channel 1, below all groups.

use quorate_protocol::{GroupId, Incarnation, NodeId, Term};
use quorate_transport::ChannelId;
use serde::{Deserialize, Serialize};

use super::foundings::FoundingRun;
use super::roster::Start;

/// A message between nodes. Variants are only appended, and a variant's fields never change.
///
/// ```text
/// n1                                               n2
///  | Hello { what I know of you, my start }  -->    |   writes n1's incarnation and start down, unless it has another
///  | <--  Known { your newest start } | Mismatch    |   once that is durable
/// ```
///
/// Both nodes do this at each start. Two nodes are introduced when each has the other's incarnation durable and knows
/// that the other has its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum NodeMessage {
    /// Requests an introduction. Sent by any node until it is answered in this start, by `Known` or `Mismatch`.
    Hello {
        /// The receiver's incarnation, if the sender has it durable.
        known: Option<Incarnation>,
        /// The sender's start.
        start: Start,
        /// The sender runs on an older copy of its disk.
        is_older: bool,
        /// The foundings of the sender's groups.
        foundings: Vec<FoundingRun>,
    },
    /// The sender has the receiver durable under this incarnation.
    Known {
        /// The receiver's incarnation. An answer to its predecessor has another.
        incarnation: Incarnation,
        /// The newest start of the receiver that the sender has durable.
        start: Start,
        /// The sender has durably noted that the receiver runs on an older copy of its disk.
        is_older: bool,
        /// The foundings of the sender's groups.
        foundings: Vec<FoundingRun>,
    },
    /// The sender durably knows another incarnation under the receiver's id.
    Mismatch {
        /// That incarnation.
        known: Incarnation,
        /// The foundings of the sender's groups.
        foundings: Vec<FoundingRun>,
    },
    /// Nothing else was sent for a heartbeat interval. It counts for all idle groups.
    Alive,
    /// Groups were added to the sender, or removed from it, since it started. Sent until the receiver answers with
    /// `GroupsKnown`.
    Groups {
        /// The sender's start, and the number of changes since then.
        edition: Edition,
        /// The foundings of all its groups.
        foundings: Vec<FoundingRun>,
    },
    /// The sender knows the groups of the receiver as of this edition, or of a newer one.
    GroupsKnown {
        /// The edition.
        edition: Edition,
        /// The start counter of the sender, which forgets editions at a restart.
        start: u32,
    },
    /// The sender's groups that rest with the receiver, summed up. Takes the place of `Alive` from time to time.
    Resting {
        /// The sum over all of them.
        sum: u64,
    },
    /// The sender's groups that rest with the receiver, summed up by parts. The sums differ from those that the
    /// receiver stated, and it is asked for the groups of the parts that differ.
    RestingParts {
        /// The sum of each part.
        parts: Vec<u64>,
    },
    /// All groups of one part that the sender has and that rest with the receiver.
    RestingGroups {
        /// The number of the part.
        part: u16,
        /// The groups, and the term and the leader under which they rest.
        groups: Vec<(GroupId, Term, NodeId)>,
    },
}

/// A list of a node's groups, as it was at a time. Later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Edition {
    /// The node's start counter.
    pub(super) start: u32,
    /// Number of changes since that start.
    pub(super) changes: u64,
}

/// Small frames of several groups in one frame. The channel of bundles is next to those of the groups, so bundles stay
/// in order with the frames that go alone. The raw section holds all sections in a row: of each frame first the small
/// section, then the raw ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bundle {
    /// The frames, in the order in which they were sent.
    pub(super) frames: Vec<Bundled>,
}

/// The address of a frame in a bundle, and the lengths of its sections.
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

/// Returns true if frames of this channel belong to a group.
pub(super) fn is_of_group(channel: ChannelId) -> bool {
    matches!(channel, ChannelId::SNAPSHOTS | ChannelId::REPLICA) || channel >= ChannelId::FIRST_CORE
}

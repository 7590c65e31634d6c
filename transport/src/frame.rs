//! Frames and the numbered channels that they travel on.

use std::fmt;

use bytes::Bytes;
use quorate_protocol::{GroupId, Incarnation, NodeId};

/// The number of a channel. It decides which reader of the receiving node gets a frame.
///
/// | channels | readers |
/// |---|---|
/// | 0 | the transport itself: users cannot send on it, and its reader learns of link events |
/// | 1 | the node |
/// | 2 | snapshots, on the bulk lane |
/// | 3 | request and response |
/// | 4 | replicas |
/// | 5 | small frames of replicas and cores, several in one frame |
/// | 6 to 15 | reserved |
/// | 16 and up | cores |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u16);

impl ChannelId {
    /// The transport's own channel.
    pub const TRANSPORT: Self = Self(0);
    /// The node's channel: standings and liveness.
    pub const NODE: Self = Self(1);
    /// Chunks of snapshots. The only channel on the bulk lane.
    pub const SNAPSHOTS: Self = Self(2);
    /// Request and response.
    pub const RPC: Self = Self(3);
    /// Messages between replicas.
    pub const REPLICA: Self = Self(4);
    /// Small frames of replicas and cores, several in one frame. The reader of the channels of replicas and cores
    /// claims this channel with them, so that one inbox keeps their order.
    pub const BUNDLES: Self = Self(5);
    /// The first channel of the cores.
    pub const FIRST_CORE: Self = Self(16);

    /// The lane that carries frames of this channel.
    #[must_use]
    pub const fn lane(self) -> Lane {
        if self.0 == Self::SNAPSHOTS.0 { Lane::Bulk } else { Lane::Control }
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One of the two ways to a peer. Each is a connection of its own, so that a snapshot never delays a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// All frames but snapshots.
    Control,
    /// Snapshots.
    Bulk,
}

impl Lane {
    /// Both lanes.
    pub const ALL: [Self; 2] = [Self::Control, Self::Bulk];
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Bulk => "bulk",
        })
    }
}

/// Length of a frame's header in bytes.
pub const HEADER_BYTES: usize = 40;

/// Length of one entry of the table of section lengths, in bytes.
pub(crate) const SECTION_LENGTH_BYTES: usize = 4;

/// Largest number of raw sections in a frame.
pub const SECTIONS_MAX: usize = 255;

/// One message in its parts: a small section that serde wrote, and raw sections that are not copied.
///
/// The checksum is computed once, when the frame is made. A frame that is sent to many peers is encoded once.
///
/// ```
/// use bytes::Bytes;
/// use quorate_protocol::GroupId;
/// use quorate_transport::{ChannelId, Frame};
/// let (small, raw) = (Bytes::from_static(b"small"), Bytes::from_static(b"raw"));
/// let frame = Frame::new(ChannelId::FIRST_CORE, GroupId(0), small, vec![raw])?;
/// assert_eq!(frame.raw()[0], "raw");
/// # Ok::<(), quorate_transport::FrameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    channel: ChannelId,
    group: GroupId,
    small: Bytes,
    raw: Vec<Bytes>,
    checksum: u32,
}

impl Frame {
    /// Makes a frame from its parts.
    ///
    /// # Errors
    /// When there are more than [`SECTIONS_MAX`] raw sections, or the frame is longer than the format allows (4 GiB).
    pub fn new(channel: ChannelId, group: GroupId, small: Bytes, raw: Vec<Bytes>) -> Result<Self, FrameError> {
        if raw.len() > SECTIONS_MAX {
            return Err(FrameError::Sections { sections: raw.len() });
        }
        let body = body_len(&small, &raw);
        if u32::try_from(body).is_err() {
            return Err(FrameError::TooLarge { bytes: body });
        }
        let mut checksum = crc32c::crc32c(&length_bytes(&small));
        for section in &raw {
            checksum = crc32c::crc32c_append(checksum, &length_bytes(section));
        }
        checksum = crc32c::crc32c_append(checksum, &small);
        for section in &raw {
            checksum = crc32c::crc32c_append(checksum, section);
        }
        Ok(Self { channel, group, small, raw, checksum })
    }

    /// Makes a frame from the parts of a body whose checksum was verified.
    pub(crate) fn verified(channel: ChannelId, group: GroupId, small: Bytes, raw: Vec<Bytes>, checksum: u32) -> Self {
        Self { channel, group, small, raw, checksum }
    }

    /// The channel of the frame.
    #[must_use]
    pub fn channel(&self) -> ChannelId {
        self.channel
    }

    /// The group it belongs to.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The small section.
    #[must_use]
    pub fn small(&self) -> &Bytes {
        &self.small
    }

    /// The raw sections.
    #[must_use]
    pub fn raw(&self) -> &[Bytes] {
        &self.raw
    }

    /// Takes the frame apart into the small section and the raw ones.
    #[must_use]
    pub fn into_sections(self) -> (Bytes, Vec<Bytes>) {
        (self.small, self.raw)
    }

    /// CRC-32C of the body: the table of section lengths, then the sections.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Number of bytes that follow the header on the wire.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        body_len(&self.small, &self.raw)
    }

    /// Number of bytes that the frame takes on the wire. Queues and inboxes count these.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes()
    }
}

/// Reason why parts do not make a frame. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// There are more raw sections than a frame can hold.
    #[error("{sections} raw sections, but a frame holds at most {SECTIONS_MAX}")]
    Sections {
        /// Number of raw sections.
        sections: usize,
    },
    /// The frame is longer than the format allows.
    #[error("a frame of {bytes} bytes is longer than the 4 GiB of its format")]
    TooLarge {
        /// Length of the frame in bytes.
        bytes: usize,
    },
}

/// Sender of a frame, as the handshake proved it; the frame itself is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sender {
    /// Id of the node.
    pub node: NodeId,
    /// Incarnation of its data directory.
    pub incarnation: Incarnation,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.incarnation)
    }
}

/// A frame that arrived.
///
/// Keeping a section keeps the memory of its whole frame, but of no other frame: over TCP the body of each frame is an
/// allocation of exactly its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Sender of the frame.
    pub from: Sender,
    /// The frame.
    pub frame: Frame,
}

fn body_len(small: &Bytes, raw: &[Bytes]) -> usize {
    let lengths = (1 + raw.len()) * SECTION_LENGTH_BYTES;
    lengths + small.len() + raw.iter().map(Bytes::len).sum::<usize>()
}

fn length_bytes(section: &Bytes) -> [u8; SECTION_LENGTH_BYTES] {
    u32::try_from(section.len()).expect("a frame's length was checked, and a section is within it").to_le_bytes()
}

//! Events of a transport's links, and reasons to refuse a connection.

use std::fmt;

use quorate_protocol::NodeId;

use crate::frame::Sender;

/// A change of a link, for the inbox that claimed [`ChannelId::TRANSPORT`](crate::ChannelId::TRANSPORT).
///
/// A link is this node's way to a peer; the peer's way back is a link of the peer. Of several waiting `Up` and `Down`
/// events of one peer, only the newest is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Frames can be sent to the peer.
    Up {
        /// The node that answered.
        peer: Sender,
    },
    /// Frames can no longer be sent to the peer. Queued frames are dropped.
    Down {
        /// The node that was there.
        peer: Sender,
        /// Reason why the link went down.
        reason: DownReason,
    },
    /// A connection was not made, or was ended because of the bytes that came over it.
    Refused {
        /// The node on the other side, if it is known.
        peer: Option<NodeId>,
        /// Reason of the refusal.
        refusal: Refusal,
        /// The side that refused.
        by: RefusedBy,
    },
}

/// The side that refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusedBy {
    /// This node.
    Us,
    /// The peer.
    Peer,
}

/// Reason why a link went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DownReason {
    /// The peer closed the connection.
    Closed,
    /// The connection failed.
    Failed(std::io::ErrorKind),
    /// This node refused the bytes that came over the connection, or the peer was silent for too long.
    Refused(Refusal),
    /// The peer was removed, or its address or incarnation was changed.
    PeerChanged,
    /// The network between the nodes was cut. Only networks in memory report this.
    Cut,
    /// This transport was shut down.
    Shutdown,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer closed the connection"),
            Self::Failed(kind) => write!(f, "the connection failed: {kind}"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::PeerChanged => f.write_str("the peer was removed or changed"),
            Self::Cut => f.write_str("the network is cut"),
            Self::Shutdown => f.write_str("the transport was shut down"),
        }
    }
}

macro_rules! refusals {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $text:literal, $message:literal;)*) => {
        /// Reason why a connection is refused, or is ended because of the bytes that came over it. Each refusal is
        /// counted and logged.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Refusal {
            $($(#[$meta])* $name,)*
        }

        impl Refusal {
            /// Every reason, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Number of the reason in the answer of a handshake. Never changes.
            #[must_use]
            pub const fn code(self) -> u16 {
                match self { $(Self::$name => $code),* }
            }

            /// Name of the reason in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }

        impl fmt::Display for Refusal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $message),* })
            }
        }
    };
}

refusals! {
    /// The first bytes are not those of this protocol.
    Magic = 1, "magic", "the other side does not speak this protocol";
    /// The two sides have no version of the format in common.
    Version = 2, "version", "no version of the wire format in common";
    /// The other side belongs to another cluster.
    Cluster = 3, "cluster", "the other side belongs to another cluster";
    /// The node that answered is not the node that was dialled.
    Node = 4, "node", "another node answers at this address";
    /// The peer has another incarnation than the expected one.
    Incarnation = 5, "incarnation", "the peer has another incarnation than expected";
    /// The dialer is not a known peer.
    UnknownPeer = 6, "unknown_peer", "the dialer is not a known peer";
    /// No correct peer sends such a handshake.
    Handshake = 7, "handshake", "malformed handshake";
    /// More connections than the bound allows wait for their handshake.
    TooManyConnections = 8, "too_many_connections", "too many connections wait for their handshake";
    /// The same peer has a newer connection.
    Superseded = 9, "superseded", "a newer connection of the peer took over";
    /// The transport is being shut down.
    ShuttingDown = 10, "shutting_down", "the transport is being shut down";
    /// The handshake did not end in time.
    HandshakeTimeout = 11, "handshake_timeout", "the handshake did not end in time";
    /// The connection ended in the handshake.
    HandshakeCut = 12, "handshake_cut", "the connection ended in the handshake";
    /// The frame is above the bound.
    FrameTooLarge = 13, "frame_too_large", "a frame above the bound";
    /// The bytes do not fit their checksum: bits were flipped, or the bytes are garbage.
    Corrupt = 14, "corrupt", "bytes that do not fit their checksum";
    /// The frame has another version than the agreed one.
    FrameVersion = 15, "frame_version", "a frame of another version than agreed";
    /// The frame names another sender than the sender of the connection.
    FrameSender = 16, "frame_sender", "a frame of another sender than the connection's";
    /// The sections of the frame do not fill it.
    FrameSections = 17, "frame_sections", "a frame whose sections do not fill it";
    /// No correct peer sends this frame on the transport's own channel, or the frame is on the wrong lane.
    FrameChannel = 18, "frame_channel", "a frame that no correct peer sends on this connection";
    /// The peer was silent for longer than the heartbeat time-out.
    HalfOpen = 19, "half_open", "nothing was heard for longer than the heartbeat time-out";
    /// The other side is an earlier start of a peer of which a later start is connected, such as a process that still
    /// runs at an address that the peer has left.
    OlderStart = 20, "older_start", "a later start of the peer is connected";
    /// Exactly one of the two sides encrypts.
    Unencrypted = 21, "unencrypted", "one side encrypts, and the other does not";
    /// The other side has no certificate that this one's authority has signed, or does not accept this one's.
    Certificate = 22, "certificate", "a certificate was not accepted";
    /// The certificate of the other side is that of another node.
    CertificateNode = 23, "certificate_node", "the certificate belongs to another node";
}

impl Refusal {
    /// The reason with this number, if this version knows it.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|refusal| refusal.code() == code)
    }
}

impl std::error::Error for Refusal {}

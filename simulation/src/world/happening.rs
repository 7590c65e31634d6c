//! The events of a world, in the order of their times.

use std::cmp::Ordering;

/// A future event with its time. Events at the same time are ordered by the sequence number of their planning.
pub(super) struct Planned<T> {
    pub(super) at_us: u64,
    pub(super) number: u64,
    pub(super) happening: Happening<T>,
}

impl<T> Ord for Planned<T> {
    /// The heap puts the greatest first, so the earliest compares as the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_us, other.number).cmp(&(self.at_us, self.number))
    }
}

impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Planned<T> {}

/// Addresses and times of a message on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    pub(super) to: u64,
    pub(super) from: u64,
    /// The sender's incarnation.
    pub(super) incarnation: u64,
    pub(super) sent_us: u64,
    /// Time at which the whole message has left the sender.
    pub(super) leaves_us: u64,
}

/// An event.
pub(super) enum Happening<T> {
    Arrive(Envelope, Box<T>),
    /// The disk of this start of a node has completed an operation.
    DiskDone {
        node: u64,
        start: u64,
        token: u64,
        is_write: bool,
    },
    Timer {
        node: u64,
    },
    Round {
        node: u64,
        start: u64,
    },
    FaultBegins(usize),
    FaultEnds(usize),
    Call {
        client: u64,
    },
    CallExpires {
        call: u64,
    },
    /// A node checks whether it is connected to a peer.
    Link {
        node: u64,
        peer: u64,
    },
    Stop {
        node: u64,
    },
    Start {
        node: u64,
    },
    /// A new leader stops, because of the fault with this number.
    Hunted {
        node: u64,
        start: u64,
        number: usize,
    },
    /// An operator asks again for the change of members of the fault with this number.
    ChangeMembers {
        number: usize,
    },
    /// A slice of time in which the cluster had to serve is over.
    Slice,
    Healed,
    /// Everything was healed for a while: if clients are served, they need not go on for long.
    Serves,
    MustServe,
    ClientsStop,
    End {
        at_latest_us: u64,
    },
}

/// A law's name, and a description of its violation.
pub(super) type Broken = (String, String);

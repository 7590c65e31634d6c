//! Leader leases (Raft thesis §6.4.1): linearizable reads at the leader without a message.
//!
//! 1. **A follower promises.** With each answer to a heartbeat it promises to vote for no other node before its own
//!    clock has advanced by `election_timeout_min`. Neither a later term nor the loss of the leader ends the promise. A
//!    node that starts does not know what it promised before, so it votes for no other for `election_timeout_max`.
//! 2. **A leader counts from the time at which it sent the heartbeat**, which is before any follower received it. It
//!    shortens each promise by the drift bound. It holds the lease as long as a quorum of the configuration in force is
//!    bound. A follower that does not promise, because its leases are off, does not count.
//! 3. **A leader reads by its lease only** once it has committed an entry of its own term, and while it transfers its
//!    leadership to no node. The target of a transfer does not wait for promises. So a leader that has once told a node
//!    to campaign does not read by its lease again in this term: the message may arrive late.
//!
//! The lease is about the present moment. Therefore the caller asks for it again after the access to the state
//! ([`ReplicatedLog::lease`](crate::ReplicatedLog::lease)).

use std::time::Duration;

use crate::Instant;

/// Setting of leader leases: see [`Settings::lease`](crate::replication::Settings::lease).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Drift bound. In the time in which the clock of any node of the group advances by one second, that of any other
    /// advances by at most one second and this number of milliseconds. At most 500. If each clock is wrong by at most
    /// one in a hundred, 21 is enough.
    pub drift_per_mille: u32,
}

impl Lease {
    /// Upper limit of the drift bound.
    pub(crate) const DRIFT_PER_MILLE_MAX: u32 = 500;

    /// Returns the time for which a promise of `span`, measured by the clock of the node that made it, certainly binds
    /// that node, measured by any other clock.
    pub(crate) fn certain(self, span: Duration) -> Duration {
        let nanos = span.as_nanos().saturating_mul(1000) / (1000 + u128::from(self.drift_per_mille));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The promises of a peer, as its leader sees them. They affect no output, so they are not part of the view.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Promised {
    /// The oldest round of heartbeats that was not answered with a promise, and the time at which it was sent.
    asked: Option<(u64, Instant)>,
    /// The time, on this node's clock, until which the peer certainly votes for no other node.
    until: Instant,
}

impl Promised {
    /// Notes that the heartbeat of a round is sent now.
    pub(crate) fn ask(&mut self, round: u64, now: Instant) {
        self.asked.get_or_insert((round, now));
    }

    /// Notes a promise with the answer to `round`. It was made after that heartbeat was sent.
    pub(crate) fn note(&mut self, round: u64, span: Duration, lease: Lease) {
        if let Some((_, sent_at)) = self.asked.take_if(|(asked, _)| *asked <= round) {
            self.until = self.until.max(sent_at.after(lease.certain(span)));
        }
    }

    pub(crate) fn until(&self) -> Instant {
        self.until
    }
}

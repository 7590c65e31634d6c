//! The wait before an election, and the leader that ends it (Raft §5.2).

use std::time::Duration;

use crate::replication::Settings;
use crate::{Instant, NodeId, Random};

/// The election timer, and the leader of the current term, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct ElectionTimer {
    random: Random,
    timeout_min: Duration,
    timeout_max: Duration,
    /// The last random wait before an election, and its end. Leaders do not use it.
    timeout: Duration,
    at: Instant,
    leader: Option<NodeId>,
    /// The time at which the leader was last heard from.
    heard_at: Instant,
    /// The time until which this node has promised to vote for no other node. `None` if it promises nothing. See
    /// `lease.rs`.
    promised_until: Option<Instant>,
}

impl ElectionTimer {
    /// Starts the first wait.
    pub(crate) fn new(seed: u64, settings: &Settings, now: Instant) -> Self {
        let mut election = Self {
            random: Random::new(seed),
            timeout_min: settings.election_timeout_min,
            timeout_max: settings.election_timeout_max,
            timeout: Duration::ZERO,
            at: now,
            leader: None,
            heard_at: now,
            promised_until: settings.lease.map(|_| now.after(settings.election_timeout_max)),
        };
        election.arm(now);
        election
    }

    /// Returns the leader of the current term, if it is known.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Returns the time of the election unless a leader is heard from before.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Draws a random wait and starts it.
    pub(crate) fn arm(&mut self, now: Instant) {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2);
        let (min, max) = (nanos(self.timeout_min), nanos(self.timeout_max));
        self.timeout = Duration::from_nanos(self.random.between(min, max));
        self.restart(now);
    }

    /// Notes that the leader is alive, and starts the last random wait again.
    pub(crate) fn hear_leader(&mut self, now: Instant) {
        self.heard_at = now;
        if let Some(until) = &mut self.promised_until {
            *until = now.after(self.timeout_min).max(*until);
        }
        self.restart(now);
    }

    /// Gives the other nodes the longest election time-out to campaign first.
    pub(crate) fn postpone(&mut self) {
        self.at = self.at.after(self.timeout_max);
    }

    /// Sets the leader, or that none is known. Returns true if another one, or none, was known before.
    pub(crate) fn set_leader(&mut self, leader: Option<NodeId>) -> bool {
        std::mem::replace(&mut self.leader, leader) != leader
    }

    /// Returns the time until which this node votes for no other node, because a leader is known and counts as alive,
    /// or because it promised so.
    pub(crate) fn bound_until(&self) -> Instant {
        let alive_until = self.leader.map(|_| self.heard_at.after(self.timeout_min));
        alive_until.max(self.promised_until).unwrap_or_default()
    }

    /// Returns the time for which this node binds itself with each message of a leader, if it does.
    pub(crate) fn promise(&self) -> Option<Duration> {
        self.promised_until.map(|_| self.timeout_min)
    }

    pub(crate) fn promised_until(&self) -> Option<Instant> {
        self.promised_until
    }

    /// Ends a promise to a leader that has stopped leading.
    pub(crate) fn release(&mut self) {
        self.promised_until = self.promised_until.map(|_| Instant::ZERO);
    }

    fn restart(&mut self, now: Instant) {
        self.at = now.after(self.timeout);
    }
}

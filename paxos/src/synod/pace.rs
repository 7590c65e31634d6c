//! Waits between repetitions: they double, and become short again when a lost node is heard.

use std::time::Duration;

use quorate_protocol::{Instant, NodeId, Standing};

use super::config::IDLE_INTERVAL_MAX;
use super::{Ignored, Synod};

impl Synod {
    /// Draws the end of a wait between half of `base * 2^doublings`, limited to `max`, and all of it.
    pub(crate) fn draw_wait(&mut self, base: Duration, doublings: u32, max: Duration) -> Instant {
        let longest = base.saturating_mul(1 << doublings.min(DOUBLINGS_MAX)).min(max);
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX).max(2);
        let drawn = self.random.between(nanos / 2, nanos);
        self.now.after(Duration::from_nanos(drawn))
    }

    /// Longest wait before a repetition. Without a waiting command there is no hurry.
    pub(crate) fn wait_max(&self) -> Duration {
        let max = self.config.settings().retry_interval_max;
        if self.has_commands() { max } else { idle_max(max) }
    }

    /// The end of a wait as long as the longest wait while a command waits.
    pub(crate) fn soon(&mut self) -> Instant {
        let max = self.config.settings().retry_interval_max;
        self.draw_wait(max, 0, max)
    }

    /// Number of doublings after which a wait is as long as the longest wait while a command waits.
    pub(crate) fn retries_soon(&self) -> u32 {
        let settings = self.config.settings();
        let is_below =
            |doublings: &u32| settings.retry_interval_min.saturating_mul(1 << doublings) < settings.retry_interval_max;
        (0..DOUBLINGS_MAX).find(|doublings| !is_below(doublings)).unwrap_or(DOUBLINGS_MAX)
    }

    /// Nothing can be sent to the node now. Repetitions for it wait longer and longer.
    pub(crate) fn on_unreachable(&mut self, node: NodeId) -> Result<(), Ignored> {
        if node == self.config.node() || !self.config.group().contains(node) {
            return Err(Ignored::NotMember);
        }
        self.lost.insert(node);
        Ok(())
    }

    /// The node was heard. If it was lost, repetitions for it come soon.
    pub(crate) fn on_peer_alive(&mut self, node: NodeId) {
        if self.lost.remove(&node) {
            self.hurry_for(node);
        }
    }

    /// A node can be reached again: repetitions for it come soon.
    pub(crate) fn hurry_for(&mut self, node: NodeId) {
        let is_learner = self.config.group().learners().contains(&node);
        if self.chosen.is_some() && is_learner && self.standing(node) == Standing::Stranger {
            // It may have another disk than the one that confirmed.
            self.unaware.insert(node);
        }
        let retries = self.retries_soon();
        if self.unaware.contains(&node) {
            let soon = self.soon();
            self.announcements = self.announcements.min(retries);
            self.announce_at = Some(self.announce_at.map_or(soon, |at| at.min(soon)));
        }
        if let Some(settle_at) = self.settle_at {
            self.inquiries = 0;
            self.settle_at = Some(self.draw_settling().min(settle_at));
        }
        self.hurry_attempt();
    }
}

/// Longest wait while no command waits.
pub(crate) fn idle_max(retry_interval_max: Duration) -> Duration {
    retry_interval_max.max(IDLE_INTERVAL_MAX)
}

/// After this number of doublings every wait has reached its bound.
pub(crate) const DOUBLINGS_MAX: u32 = 30;

//! Monotone clocks of nodes that run faster or slower than the time of the cluster.

use std::time::Duration;

use super::{Cluster, Subject};
use crate::{Instant, NodeId, Now};

/// The pace of a node's clock. By default the clock shows the time of the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Thousandths by which the clock runs faster than time.
    per_mille: i32,
    /// A moment, and the reading of the clock at that moment. Both only grow.
    since: Instant,
    reading: Instant,
}

impl Pace {
    /// Returns the reading of the clock at a moment.
    fn reading_at(self, moment: Instant) -> Instant {
        let passed = moment.since(self.since);
        self.reading.after(scaled(passed, 1000 + self.per_mille, 1000))
    }

    /// Returns the first moment at which the clock shows at least `reading`.
    pub(super) fn moment_of(self, reading: Instant) -> Instant {
        let moment = self.since.after(scaled(reading.since(self.reading), 1000, 1000 + self.per_mille));
        if self.reading_at(moment) < reading { moment.after(Duration::from_nanos(1)) } else { moment }
    }
}

impl<P: Subject> Cluster<P> {
    /// Lets the monotone clock of a node run faster from now on by this many thousandths, or slower if negative. The
    /// clock survives restarts.
    ///
    /// # Panics
    /// When the clock would stand still or go back.
    pub fn drift(&mut self, node: u64, per_mille: i32) {
        assert!(per_mille > -1000, "a clock advances");
        let (now, reading) = (self.now(), self.clocks(NodeId(node)).instant);
        self.node_mut(node).pace = Pace { per_mille, since: now, reading };
    }

    /// The clocks of a node. Its wall clock shows the time of the cluster.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn clocks(&self, node: NodeId) -> Now {
        let Now { instant, wall_ms } = self.time.clocks();
        Now { instant: self.nodes[&node].pace.reading_at(instant), wall_ms }
    }
}

fn scaled(duration: Duration, multiplier: i32, divisor: i32) -> Duration {
    let nanos =
        i128::try_from(duration.as_nanos()).expect("a short time") * i128::from(multiplier) / i128::from(divisor);
    Duration::from_nanos(u64::try_from(nanos).expect("a short time"))
}

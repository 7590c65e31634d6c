//! Demands on a cluster during a fault that it must survive.

use super::{Broken, Happening, Machine, SERVES_WITHIN_US, World};

/// A demand that is being checked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    ends_us: u64,
    /// Acknowledged writes at the end of the previous slice.
    writes: u64,
    slices: u64,
    idle_slices: u64,
    /// Number of leaders so far and the newest term, at the end of the time to settle.
    settled: Option<(u64, u64)>,
}

impl<M: Machine> World<'_, M> {
    pub(super) fn begin_demand(&mut self, for_us: u64) {
        self.demand =
            Some(Demand { ends_us: self.now_us + for_us, writes: self.calls.acknowledged_writes, ..Demand::default() });
        self.plan(SERVES_WITHIN_US, Happening::Slice);
    }

    /// Ends a slice of time. The first is the time to settle, and the others are short.
    pub(super) fn end_slice(&mut self) -> Result<(), Broken> {
        let Some(mut demand) = self.demand else { return Ok(()) };
        if self.now_us > demand.ends_us {
            return Ok(());
        }
        let writes = std::mem::replace(&mut demand.writes, self.calls.acknowledged_writes);
        let is_idle = writes == self.calls.acknowledged_writes;
        let newest_term = self.nodes.values().map(|node| node.seen.term).max().unwrap_or(0);
        let broken = |detail: String| Err(("progress while a fault lasts".to_owned(), detail));
        match demand.settled {
            None if is_idle => {
                return broken(format!("no write was acknowledged within {} s", SERVES_WITHIN_US / 1_000_000));
            }
            None => demand.settled = Some((self.leaders_begun, newest_term)),
            Some((leaders, term)) => {
                demand.slices += 1;
                demand.idle_slices += u64::from(is_idle);
                if demand.idle_slices * 20 > demand.slices.max(20) {
                    let Demand { slices, idle_slices, .. } = demand;
                    return broken(format!("no write was acknowledged in {idle_slices} of {slices} seconds"));
                }
                if self.leaders_begun > leaders + CHANGES_MAX || newest_term > term + TERMS_MAX {
                    let (changes, terms) = (self.leaders_begun - leaders, newest_term - term);
                    return broken(format!("{changes} changes of leader and {terms} terms since it had settled"));
                }
            }
        }
        self.demand = Some(demand);
        self.plan(SLICE_US, Happening::Slice);
        Ok(())
    }
}

const SLICE_US: u64 = 1_000_000;
const CHANGES_MAX: u64 = 2;
const TERMS_MAX: u64 = 4;

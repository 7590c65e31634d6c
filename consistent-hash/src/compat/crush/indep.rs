//! `choose indep`: each position is chosen independently of the others, so that a device that is lost leaves a gap and
//! moves no other.

use alloc::vec;
use alloc::vec::Vec;

use super::{CRUSH_NONE, CrushBucket, Descent, Search};

/// A position that is not chosen yet.
const OPEN: Option<i32> = None;

impl<'m, F: Fn(i32) -> u32> Search<'m, F> {
    /// Chooses an item for each of `count` positions below a bucket, but for no more positions than there is room for;
    /// their devices if `leaf` is set.
    pub(super) fn indep(&self, bucket: &'m CrushBucket, count: usize, room: usize, kind: u16, leaf: bool) -> Vec<i32> {
        let width = u32::try_from(count).unwrap_or(u32::MAX);
        let positions = count.min(room);
        let (mut found, mut leaves) = (vec![OPEN; positions], vec![OPEN; positions]);
        for round in 0..self.tries {
            if found.iter().all(Option::is_some) {
                break;
            }
            for (rep, position) in (0_u32..).zip(0..positions) {
                if found[position].is_some() {
                    continue;
                }
                let r = rep.wrapping_add(width.wrapping_mul(round));
                match self.descend(bucket, r, kind) {
                    Descent::DeadEnd => (found[position], leaves[position]) = (Some(CRUSH_NONE), Some(CRUSH_NONE)),
                    Descent::Empty => {}
                    Descent::Found(item) if found.contains(&Some(item)) || (item >= 0 && self.is_out(item)) => {}
                    Descent::Found(item) => {
                        let device = if leaf { self.leaf_at(item, rep, width, r) } else { Some(item) };
                        if device.is_some() {
                            (found[position], leaves[position]) = (Some(item), device);
                        }
                    }
                }
            }
        }
        leaves.into_iter().map(|device| device.unwrap_or(CRUSH_NONE)).collect()
    }

    /// A device below an item that is in, for the position `rep` of `width`.
    fn leaf_at(&self, item: i32, rep: u32, width: u32, r: u32) -> Option<i32> {
        let Some(bucket) = self.map.buckets.get(&item) else { return Some(item) };
        for round in 0..self.leaf_tries {
            let r = rep.wrapping_add(r).wrapping_add(width.wrapping_mul(round));
            match self.descend(bucket, r, 0) {
                Descent::Found(device) if !self.is_out(device) => return Some(device),
                Descent::DeadEnd => return None,
                _ => {}
            }
        }
        None
    }
}

//! `choose indep`: each position is chosen independently of the others, so that a device that is lost leaves a gap and
//! moves no other.

use alloc::vec;
use alloc::vec::Vec;

use super::CRUSH_NONE;
use super::search::{CrushEvent, CrushRejection, Descent, Search};

/// A position that is not chosen yet.
const OPEN: Option<i32> = None;

impl<F: Fn(i32) -> u32, O: FnMut(CrushEvent)> Search<'_, F, O> {
    /// Chooses an item for each of `count` positions below a bucket, but for no more positions than there is room for;
    /// their devices if `leaf` is set.
    pub(super) fn indep(&mut self, bucket: i32, count: usize, room: usize, kind: u16, leaf: bool) -> Vec<i32> {
        let width = u32::try_from(count).unwrap_or(u32::MAX);
        let positions = count.min(room);
        let (mut found, mut leaves) = (vec![OPEN; positions], vec![OPEN; positions]);
        for round in 0..self.tries {
            if found.iter().all(Option::is_some) || self.is_over() {
                break;
            }
            for (replica, position) in (0_u32..).zip(0..positions) {
                if found[position].is_some() || self.is_over() {
                    continue;
                }
                let r = replica.wrapping_add(width.wrapping_mul(round));
                (self.observe)(CrushEvent::Try { bucket, replica, r });
                match self.descend(bucket, r, kind) {
                    Descent::DeadEnd => (found[position], leaves[position]) = (Some(CRUSH_NONE), Some(CRUSH_NONE)),
                    Descent::Empty => {}
                    Descent::Found(item) if self.is_refused(item, found.contains(&Some(item))) => {}
                    Descent::Found(item) => {
                        let device = if leaf { self.leaf_at(item, replica, width, r) } else { Some(item) };
                        if let Some(device) = device {
                            (self.observe)(CrushEvent::Chosen { item, device });
                            (found[position], leaves[position]) = (Some(item), Some(device));
                        } else {
                            (self.observe)(CrushEvent::Rejected(CrushRejection::NoLeaf(item)));
                        }
                    }
                }
            }
        }
        leaves.into_iter().map(|device| device.unwrap_or(CRUSH_NONE)).collect()
    }

    /// A device below an item that is in, for the position `replica` of `width`.
    fn leaf_at(&mut self, item: i32, replica: u32, width: u32, r: u32) -> Option<i32> {
        if !self.map.buckets.contains_key(&item) {
            return Some(item);
        }
        for round in 0..self.leaf_tries {
            if self.is_over() {
                break;
            }
            let r = replica.wrapping_add(r).wrapping_add(width.wrapping_mul(round));
            (self.observe)(CrushEvent::Leaf { bucket: item, r });
            match self.descend(item, r, 0) {
                Descent::Found(device) if !self.is_refused(device, false) => return Some(device),
                Descent::DeadEnd => return None,
                _ => {}
            }
        }
        None
    }
}

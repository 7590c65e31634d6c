//! The choices of a rule: straws, tries and rejections.

use alloc::vec::Vec;

use super::log::log2;
use super::{CrushBucket, CrushMap, CrushStep, hash2, hash3};

/// An event on the way of a rule ([`CrushMap::trace`]), in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrushEvent {
    /// The step with this position in the rule begins.
    Step(usize),
    /// A try for a replica begins.
    Try {
        /// The bucket in which the search begins.
        bucket: i32,
        /// The replica, counted from zero in each bucket.
        replica: u32,
        /// The number that stands for replica and tries in each draw.
        r: u32,
    },
    /// A try for the device below a chosen item begins.
    Leaf {
        /// The chosen item.
        bucket: i32,
        /// The number that stands for replica and tries in each draw.
        r: u32,
    },
    /// An item of a bucket has the longest straw; [`CrushMap::straws`] are the straws of all its items.
    Drawn {
        /// The bucket.
        bucket: i32,
        /// The number that stands for replica and tries in the draw.
        r: u32,
        /// The item with the longest straw.
        item: i32,
    },
    /// A try failed.
    Rejected(CrushRejection),
    /// A replica is chosen.
    Chosen {
        /// The chosen item: a device, or a bucket if buckets are chosen.
        item: i32,
        /// The device below it if the step chooses devices below, else the item again.
        device: i32,
    },
}

/// Reason why a try of a rule failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrushRejection {
    /// The item or device was chosen for another replica.
    Taken(i32),
    /// The device is out, wholly or for this input.
    Out(i32),
    /// The bucket has no items.
    Empty(i32),
    /// A device stands where a bucket was looked for. The replica is given up.
    DeadEnd(i32),
    /// No device was found below the item.
    NoLeaf(i32),
}

/// The straw of an item of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrushStraw {
    /// The item.
    pub item: i32,
    /// Its weight in steps of 1/65536.
    pub weight: u32,
    /// The number of 16 bits that is drawn for it.
    pub draw: u32,
    /// The logarithm of the draw divided by the weight, which is negative; the greatest wins, and of equal ones the
    /// first. The smallest number stands for a weight of zero.
    pub length: i64,
}

impl CrushMap {
    /// Does what [`CrushMap::place`] does, and reports each step, draw and rejection.
    pub fn trace(
        &self,
        rule: &[CrushStep],
        x: u32,
        replicas: usize,
        reweight: impl Fn(i32) -> u32,
        observe: impl FnMut(CrushEvent),
    ) -> Vec<i32> {
        self.apply(rule, x, replicas, reweight, observe, &mut u64::MAX.clone())
    }

    /// The straws of all items of a bucket, in their order, for the input `x` and the number `r` of a draw; none if
    /// there is no such bucket.
    pub fn straws(&self, bucket: i32, x: u32, r: u32) -> Vec<CrushStraw> {
        let straw = |&(item, weight): &(i32, u32)| {
            let (draw, length) = straw(item, weight, x, r);
            CrushStraw { item, weight, draw, length }
        };
        self.buckets.get(&bucket).map_or_else(Vec::new, |bucket| bucket.items.iter().map(straw).collect())
    }

    /// Applies a rule with at most `budget` straws, from which the drawn ones are subtracted. If it comes to zero, the
    /// search was given up, and the result is worthless.
    pub(super) fn apply(
        &self,
        rule: &[CrushStep],
        x: u32,
        replicas: usize,
        reweight: impl Fn(i32) -> u32,
        observe: impl FnMut(CrushEvent),
        budget: &mut u64,
    ) -> Vec<i32> {
        let (mut taken, mut placed) = (Vec::new(), Vec::new());
        let mut search = Search { map: self, x, reweight, observe, budget, tries: TRIES, leaf_tries: 1 };
        for (number, step) in rule.iter().enumerate() {
            (search.observe)(CrushEvent::Step(number));
            *search.budget = search.budget.saturating_sub(1);
            match *step {
                CrushStep::Take(item) => taken = [item].into(),
                CrushStep::ChooseFirstn { count, kind, leaf } => {
                    taken = search.each(&taken, replicas, |search, bucket, room| {
                        search.firstn(bucket, wanted(count, replicas), room, kind, leaf)
                    });
                }
                CrushStep::ChooseIndep { count, kind, leaf } => {
                    taken = search.each(&taken, replicas, |search, bucket, room| {
                        search.indep(bucket, wanted(count, replicas), room, kind, leaf)
                    });
                }
                CrushStep::SetChooseTries(0) | CrushStep::SetChooseleafTries(0) => {}
                CrushStep::SetChooseTries(tries) => search.tries = tries,
                CrushStep::SetChooseleafTries(tries) => search.leaf_tries = tries,
                CrushStep::Emit => {
                    placed.extend(taken.drain(..).take(replicas - placed.len()));
                }
            }
        }
        placed
    }
}

/// The choices of one rule for one input.
pub(super) struct Search<'m, F, O> {
    pub(super) map: &'m CrushMap,
    x: u32,
    reweight: F,
    pub(super) observe: O,
    /// Number of straws that may still be drawn. A step counts as one.
    budget: &'m mut u64,
    /// Number of tries for an item.
    pub(super) tries: u32,
    /// Number of tries for the device below an item.
    pub(super) leaf_tries: u32,
}

impl<F: Fn(i32) -> u32, O: FnMut(CrushEvent)> Search<'_, F, O> {
    /// What `choose` finds in each of the buckets among the items, for at most this number of replicas together.
    fn each(&mut self, items: &[i32], replicas: usize, choose: impl Fn(&mut Self, i32, usize) -> Vec<i32>) -> Vec<i32> {
        let mut chosen = Vec::new();
        for &bucket in items.iter().filter(|item| self.map.buckets.contains_key(item)) {
            chosen.extend(choose(self, bucket, replicas - chosen.len()));
        }
        chosen
    }

    /// Chooses up to `count` distinct items below a bucket, but no more than there is room for; their devices if `leaf`
    /// is set.
    fn firstn(&mut self, bucket: i32, count: usize, room: usize, kind: u16, leaf: bool) -> Vec<i32> {
        let (mut found, mut leaves) = (Vec::new(), Vec::new());
        for replica in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            if found.len() == room || self.is_over() {
                break;
            }
            for failures in 0..self.tries {
                if self.is_over() {
                    break;
                }
                let r = replica.wrapping_add(failures);
                (self.observe)(CrushEvent::Try { bucket, replica, r });
                match self.descend(bucket, r, kind) {
                    Descent::DeadEnd => break,
                    Descent::Empty => {}
                    Descent::Found(item) if self.is_refused(item, found.contains(&item)) => {}
                    Descent::Found(item) => {
                        let device = if leaf { self.leaf_below(item, r, &leaves) } else { Some(item) };
                        if let Some(device) = device {
                            (self.observe)(CrushEvent::Chosen { item, device });
                            found.push(item);
                            leaves.push(device);
                            break;
                        }
                        (self.observe)(CrushEvent::Rejected(CrushRejection::NoLeaf(item)));
                    }
                }
            }
        }
        leaves
    }

    /// A device below an item that is in, and not among those taken. The tries begin with the number of the outer try.
    fn leaf_below(&mut self, item: i32, r: u32, taken: &[i32]) -> Option<i32> {
        if !self.map.buckets.contains_key(&item) {
            return Some(item);
        }
        for failures in 0..self.leaf_tries {
            if self.is_over() {
                break;
            }
            let r = r.wrapping_add(failures);
            (self.observe)(CrushEvent::Leaf { bucket: item, r });
            match self.descend(item, r, 0) {
                Descent::Found(device) if !self.is_refused(device, taken.contains(&device)) => return Some(device),
                Descent::DeadEnd => return None,
                _ => {}
            }
        }
        None
    }

    /// Follows the longest straws down to an item of this type.
    pub(super) fn descend(&mut self, mut id: i32, r: u32, kind: u16) -> Descent {
        let map = self.map;
        while let Some(bucket) = map.buckets.get(&id) {
            *self.budget = self.budget.saturating_sub(bucket.items.len() as u64 + 1);
            let Some(item) = longest(bucket, self.x, r) else {
                (self.observe)(CrushEvent::Rejected(CrushRejection::Empty(id)));
                return Descent::Empty;
            };
            (self.observe)(CrushEvent::Drawn { bucket: id, r, item });
            if map.buckets.get(&item).map_or(0, |below| below.kind) == kind {
                return Descent::Found(item);
            }
            id = item;
        }
        (self.observe)(CrushEvent::Rejected(CrushRejection::DeadEnd(id)));
        Descent::DeadEnd
    }

    /// True for an item that is taken already, or a device that is out.
    pub(super) fn is_refused(&mut self, item: i32, is_taken: bool) -> bool {
        let refused = if is_taken {
            CrushRejection::Taken(item)
        } else if item >= 0 && self.is_out(item) {
            CrushRejection::Out(item)
        } else {
            return false;
        };
        (self.observe)(CrushEvent::Rejected(refused));
        true
    }

    /// True if no more straws may be drawn.
    pub(super) fn is_over(&self) -> bool {
        *self.budget == 0
    }

    fn is_out(&self, device: i32) -> bool {
        let weight = (self.reweight)(device);
        weight < 1 << 16 && hash2(self.x, device.cast_unsigned()) & 0xFFFF >= weight
    }
}

pub(super) enum Descent {
    Found(i32),
    /// The bucket has no items, which counts as a failure.
    Empty,
    /// The item is a device instead of a bucket, which ends the search for this replica.
    DeadEnd,
}

/// The number of items that a step chooses from each bucket.
fn wanted(count: i32, replicas: usize) -> usize {
    let replicas = if count > 0 { 0 } else { i64::try_from(replicas).unwrap_or(i64::MAX) };
    usize::try_from(i64::from(count).saturating_add(replicas)).unwrap_or(0)
}

/// The item with the longest straw. If several are equally long, the first of them.
fn longest(bucket: &CrushBucket, x: u32, r: u32) -> Option<i32> {
    let mut best: Option<(i64, i32)> = None;
    for &(item, weight) in &bucket.items {
        let (_, length) = straw(item, weight, x, r);
        if best.is_none_or(|(longest, _)| length > longest) {
            best = Some((length, item));
        }
    }
    best.map(|(_, item)| item)
}

/// The draw of an item, and the length of its straw.
fn straw(item: i32, weight: u32, x: u32, r: u32) -> (u32, i64) {
    let draw = hash3(x, item.cast_unsigned(), r) & 0xFFFF;
    if weight == 0 {
        return (draw, i64::MIN);
    }
    (draw, (log2(draw).cast_signed() - (1 << 48)) / i64::from(weight))
}

/// Number of tries for an item: `choose_total_tries` plus one.
const TRIES: u32 = 51;

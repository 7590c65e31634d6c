//! What becomes of a message on its way.

use std::collections::BTreeMap;

use quorate_protocol::Random;

/// The network between the nodes. Without faults each link keeps the order of what is sent.
#[derive(Debug)]
pub(super) struct Network {
    random: Random,
    /// How many faults cut each link.
    cut: BTreeMap<(u64, u64), u32>,
    /// By how many microseconds each link is slower.
    slower_us: BTreeMap<(u64, u64), u64>,
    pub(super) loss_percent: u64,
    pub(super) duplicate_percent: u64,
    pub(super) delay_us: u64,
    /// When the newest message of each link arrives.
    last_us: BTreeMap<(u64, u64), u64>,
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed ^ 0x006e_6574_776f_726b),
            cut: BTreeMap::new(),
            slower_us: BTreeMap::new(),
            loss_percent: 0,
            duplicate_percent: 0,
            delay_us: 0,
            last_us: BTreeMap::new(),
        }
    }

    /// When a message that is sent now arrives: never, once, or twice.
    pub(super) fn send(&mut self, now_us: u64, link: (u64, u64)) -> Vec<u64> {
        let is_lost = self.is_cut(link) || self.chance(self.loss_percent);
        let count = if is_lost { 0 } else { 1 + u64::from(self.chance(self.duplicate_percent)) };
        (0..count).map(|_| self.arrival(now_us, link)).collect()
    }

    pub(super) fn is_cut(&self, link: (u64, u64)) -> bool {
        self.cut.contains_key(&link)
    }

    pub(super) fn cut(&mut self, links: &[(u64, u64)]) {
        for link in links {
            *self.cut.entry(*link).or_insert(0) += 1;
        }
    }

    pub(super) fn mend(&mut self, links: &[(u64, u64)]) {
        for link in links {
            let cuts = self.cut.get_mut(link).expect("cut before");
            *cuts -= 1;
            if *cuts == 0 {
                self.cut.remove(link);
            }
        }
    }

    pub(super) fn slow(&mut self, links: &[(u64, u64)], by_us: u64) {
        for link in links {
            *self.slower_us.entry(*link).or_insert(0) += by_us;
        }
    }

    pub(super) fn speed_up(&mut self, links: &[(u64, u64)], by_us: u64) {
        for link in links {
            *self.slower_us.get_mut(link).expect("slowed before") -= by_us;
        }
    }

    fn arrival(&mut self, now_us: u64, link: (u64, u64)) -> u64 {
        let slower_us = self.slower_us.get(&link).copied().unwrap_or(0);
        let plain_us = now_us + slower_us + self.random.between(150, 500);
        if self.delay_us > 0 {
            return plain_us + self.random.between(0, self.delay_us);
        }
        let last_us = self.last_us.entry(link).or_insert(0);
        *last_us = plain_us.max(*last_us + 1);
        *last_us
    }

    fn chance(&mut self, percent: u64) -> bool {
        percent > 0 && self.random.between(0, 100) < percent
    }
}

//! The fate of messages on their way.

use quorate_protocol::Random;

use crate::schedule::Link;

/// The network between the nodes. Without faults each link delivers messages in the order in which they were sent.
#[derive(Debug)]
pub(super) struct Network {
    random: Random,
    nodes: u64,
    links: Vec<LinkState>,
    pub(super) loss_percent: u64,
    pub(super) duplicate_percent: u64,
    /// Faults that deliver messages once more: the percentage of messages, and the longest delay in microseconds.
    pub(super) echoes: Vec<(u64, u64)>,
    pub(super) delay_us: u64,
}

/// One direction between two nodes.
#[derive(Clone, Debug, Default)]
struct LinkState {
    /// Number of faults that cut it.
    cuts: u32,
    /// Microseconds by which it is slower.
    slower_us: u64,
    /// Its limits of bandwidth, in bytes a second.
    bytes_per_second: Vec<u64>,
    /// Time at which everything sent under a limit is through.
    busy_until_us: u64,
    /// Arrival time of the newest message.
    last_us: u64,
}

/// Fate of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It leaves its sender at one time and arrives later, perhaps once more.
    Arrives { leaves_us: u64, at_us: u64, again_us: Option<u64> },
    /// The link is cut.
    Cut,
    /// It is lost by chance.
    Lost,
    /// It would have had to wait too long.
    Crowded,
}

impl Network {
    pub(super) fn new(seed: u64, nodes: u64) -> Self {
        let places = usize::try_from((nodes + 1) * (nodes + 1)).expect("few nodes");
        Self {
            random: Random::new(seed ^ 0x006e_6574_776f_726b),
            nodes,
            links: vec![LinkState::default(); places],
            loss_percent: 0,
            duplicate_percent: 0,
            echoes: Vec::new(),
            delay_us: 0,
        }
    }

    /// Decides the fate of a message that is sent now. `bytes` is called only if its size matters.
    pub(super) fn send(&mut self, now_us: u64, link: Link, bytes: impl FnOnce() -> u64) -> Fate {
        let state = self.link(link);
        if state.cuts > 0 {
            return Fate::Cut;
        }
        let mut leaves_us = now_us;
        if let Some(bytes_per_second) = state.bytes_per_second.iter().min().copied() {
            let free_us = state.busy_until_us.max(now_us);
            if free_us > now_us + QUEUE_US_MAX {
                return Fate::Crowded;
            }
            leaves_us = free_us + bytes() * 1_000_000 / bytes_per_second.max(1);
            state.busy_until_us = leaves_us;
        }
        if self.chance(self.loss_percent) {
            return Fate::Lost;
        }
        let is_doubled = self.chance(self.duplicate_percent);
        let at_us = self.arrival(leaves_us, link);
        let again_us = is_doubled.then(|| self.arrival(leaves_us, link)).or_else(|| self.echo(at_us));
        Fate::Arrives { leaves_us, at_us, again_us }
    }

    pub(super) fn is_cut(&mut self, link: Link) -> bool {
        self.link(link).cuts > 0
    }

    pub(super) fn cut(&mut self, links: &[Link]) {
        for link in links {
            self.link(*link).cuts += 1;
        }
    }

    pub(super) fn mend(&mut self, links: &[Link]) {
        for link in links {
            self.link(*link).cuts -= 1;
        }
    }

    pub(super) fn slow(&mut self, links: &[Link], by_us: u64) {
        for link in links {
            self.link(*link).slower_us += by_us;
        }
    }

    pub(super) fn speed_up(&mut self, links: &[Link], by_us: u64) {
        for link in links {
            self.link(*link).slower_us -= by_us;
        }
    }

    pub(super) fn bound(&mut self, links: &[Link], bytes_per_second: u64) {
        for link in links {
            self.link(*link).bytes_per_second.push(bytes_per_second);
        }
    }

    pub(super) fn lift_bound(&mut self, links: &[Link], bytes_per_second: u64) {
        for link in links {
            let bounds = &mut self.link(*link).bytes_per_second;
            if let Some(place) = bounds.iter().position(|bound| *bound == bytes_per_second) {
                bounds.swap_remove(place);
            }
        }
    }

    pub(super) fn end_echo(&mut self, echo: (u64, u64)) {
        if let Some(place) = self.echoes.iter().position(|other| *other == echo) {
            self.echoes.swap_remove(place);
        }
    }

    /// Time at which a message that arrives at `at_us` arrives once more, if it does.
    fn echo(&mut self, at_us: u64) -> Option<u64> {
        let (percent, up_to_us) = self.echoes.iter().copied().max()?;
        self.chance(percent).then(|| at_us + self.random.between(0, up_to_us))
    }

    fn link(&mut self, (from, to): Link) -> &mut LinkState {
        let place = usize::try_from(from * (self.nodes + 1) + to).expect("few nodes");
        &mut self.links[place]
    }

    fn arrival(&mut self, leaves_us: u64, link: Link) -> u64 {
        let plain_us = leaves_us + self.random.between(150, 500);
        if self.delay_us > 0 {
            let late_us = self.random.between(0, self.delay_us);
            return plain_us + self.link(link).slower_us + late_us;
        }
        let state = self.link(link);
        state.last_us = (plain_us + state.slower_us).max(state.last_us + 1);
        state.last_us
    }

    fn chance(&mut self, percent: u64) -> bool {
        percent > 0 && self.random.between(0, 100) < percent
    }
}

/// A message that would have to wait longer on a slow link is lost.
const QUEUE_US_MAX: u64 = 1_000_000;

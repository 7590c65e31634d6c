//! Groups whose core keeps its log in a replicated log, so that the core survives its node.
//!
//! A [`Bound`] group has one core, which runs on the node that leads the replicated log. What the core persists is a
//! proposal there. When another node takes over, it recovers the core from everything that was written, and a write of
//! the former core changes nothing any more. The application reaches the core through a
//! [`HostedHandle`](crate::hosted::HostedHandle) on each node, and the replica below it through a
//! [`ReplicaHandle`](crate::ReplicaHandle) to its [`BoundLog`].
//!
//! # What a core may rely on
//!
//! - What it is told to be persisted is committed and applied, and each later core is recovered from it.
//! - A write that failed as [`NotWritten`](quorate_protocol::PersistFailure::NotWritten) is never in the log.
//! - If the outcome of a write is not known, the core is dropped: it never learns of it. The next one finds it written
//!   or not, and it never becomes written after that.
//!
//! # What it must bear
//!
//! - A former core may still speak for a while: its node does not know yet that another one leads. It says nothing that
//!   rests on a write that is not durable, but it does not know what its successor wrote. A core whose recovery raises
//!   an epoch in its log, and whose peers refuse what bears an older one, is safe against that.
//! - It runs on different nodes. Its identity is that of its log, and not of the node.
//! - A request that the application of a former node began may still be carried out there. Requests are idempotent, and
//!   what they touch can tell epochs apart.
//! - If the replicated log may come to rest, a living peer is reported only when it is back.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;

use quorate_protocol::{
    Configuration, GroupId, HaltReason, Identity, Input, Instant, LoadFailure, LoadRange, Loaded, NodeId, Now,
    PersistFailure, RecoverError, Recovery, RefuseReason, ReplicatedLog, Rest, SessionId, Signal, Standing,
    StorageLevel, Term, Ticket, WriteRefusal,
};
use quorate_transport::ChannelId;

use crate::group::hostable::Hostable;
use crate::group::interface::{CallId, Group, GroupInput, GroupOutput};
use crate::group::outcome::{NotApplied, Outcome};
use crate::group::reply::Reply;
use crate::group::start::{BoxError, GroupStart};
use crate::hosted::{CoreOutput, Hosted};
use crate::metrics::{self, MetricKind};
use crate::replica::Replica;
use crate::replica::proposals::{Delivery, ProposeOptions};
use crate::replica::seat::Seat;

mod log;
mod settings;
mod writes;

pub use log::{BoundLog, Reign};
pub use settings::{BoundSettings, BoundSettingsError};

use log::codec::{Command, Response, WRITE_OVERHEAD_BYTES};
use writes::Writes;

/// A core `P` whose log is the state of a replica on the replicated log `L`: the member of a bound group on one node.
///
/// Pure, like its parts. The replica runs on every node, and the core on the node that leads. The group is one group of
/// its node: if the core panics or halts, the replica stops with it, so that another node leads and serves.
pub struct Bound<L, P: Hostable> {
    replica: Replica<L, BoundLog>,
    hosted: Hosted<P>,
    recover: RecoverCore<P>,
    settings: BoundSettings,
    /// The data that each core starts from, beside its log.
    site: CoreSite,
    office: Office,
    writes: Writes,
    /// The standings of the nodes, which each new core is told.
    standings: BTreeMap<NodeId, Standing>,
    /// The room on this node's disk.
    disk: StorageLevel,
    /// The room as the core was last told.
    told_room: StorageLevel,
    now: Now,
    last_call: u64,
    is_halted: bool,
    halt: Option<HaltReason>,
}

/// The part of this node in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Office {
    /// It does not lead.
    Follows,
    /// It leads, and does not serve yet.
    TakesOver { term: Term, step: TakeOver },
    /// It serves the core.
    Serves { term: Term, reign: Reign },
}

/// The state of a take-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TakeOver {
    /// It is proposed at this time.
    ProposeAt(Instant),
    /// It was proposed.
    Proposed(CallId),
}

/// The data that a core starts from.
struct CoreSite {
    group: GroupId,
    /// With the id under which the core knows itself.
    identity: Identity,
    session: SessionId,
    members: Configuration,
    seed: u64,
    frame_bytes_max: usize,
    write_bytes_max: usize,
}

/// Recovers the core of a bound group, once for each reign.
pub type RecoverCore<P> = Box<dyn FnMut(GroupStart) -> Result<P, BoxError> + Send>;

impl<L: ReplicatedLog + Hostable, P: Hostable> Bound<L, P> {
    /// Recovers the member of a bound group. Messages of its core travel on `channel` (17 or above, the same on every
    /// node), and `recover` makes the core from its log whenever this node takes over.
    ///
    /// # Errors
    /// As [`Replica::recover`], and when the settings contradict each other.
    ///
    /// # Panics
    /// When the channel is below 16, or that of the replicated log ([`ReplicatedLog::CHANNEL`]).
    pub fn recover(
        start: GroupStart,
        settings: BoundSettings,
        log: L::Config,
        channel: ChannelId,
        recover: RecoverCore<P>,
    ) -> Result<Self, RecoverError> {
        let is_free = channel >= ChannelId::FIRST_CORE && channel != ChannelId(L::CHANNEL);
        assert!(is_free, "a core has a channel from 16 up that its replicated log does not have");
        settings.check().map_err(|error| RecoverError::Settings(error.to_string()))?;
        if settings.served_as.is_some_and(|id| start.members.nodes().any(|node| node == id)) {
            return Err(RecoverError::Settings("served_as of a bound group is the id of a member".to_owned()));
        }
        let GroupStart { now, group, identity, session, members, recovery, skipped, seed, .. } = start;
        let GroupStart { frame_bytes_max, write_bytes_max, .. } = start;
        let seat = Seat { group, node: identity.node, session };
        let identity = Identity { node: settings.served_as.unwrap_or(identity.node), ..identity };
        let replica_settings = settings.replica.clone();
        let write_bytes_max = write_bytes_max.min(replica_settings.command_bytes_max - WRITE_OVERHEAD_BYTES);
        let replica = Replica::recover(now, seat, replica_settings, log, recovery, BoundLog::default())?;
        Ok(Self {
            replica: replica.skipping(skipped),
            hosted: Hosted::without_core(now, group, channel),
            recover,
            settings,
            site: CoreSite { group, identity, session, members, seed, frame_bytes_max, write_bytes_max },
            office: Office::Follows,
            writes: Writes::default(),
            standings: BTreeMap::new(),
            disk: StorageLevel::Enough,
            told_room: StorageLevel::Enough,
            now,
            last_call: 0,
            is_halted: false,
            halt: None,
        })
    }

    /// Returns the replica that keeps the log of the core.
    pub fn replica(&self) -> &Replica<L, BoundLog> {
        &self.replica
    }

    /// As [`replica`](Self::replica), for calls.
    pub fn replica_mut(&mut self) -> &mut Replica<L, BoundLog> {
        &mut self.replica
    }

    /// Returns the place of the core, with the core while this node serves it.
    pub fn hosted(&self) -> &Hosted<P> {
        &self.hosted
    }

    /// As [`hosted`](Self::hosted), for calls.
    pub fn hosted_mut(&mut self) -> &mut Hosted<P> {
        &mut self.hosted
    }

    /// Returns the reign in which this node serves the core; `None` if it does not serve it.
    pub fn reign(&self) -> Option<Reign> {
        match self.office {
            Office::Serves { reign, .. } => Some(reign),
            Office::Follows | Office::TakesOver { .. } => None,
        }
    }

    /// Follows the leadership of the replica: drops the core when it ends, and takes over when it begins. Returns true
    /// if that changed anything.
    fn follow_leadership(&mut self) -> bool {
        let leading = self.replica.leading();
        match (self.office, leading) {
            (Office::Follows, None) => {
                self.hosted.leave(self.replica.leader());
                false
            }
            (Office::Follows, Some(term)) => self.take_over(term),
            (Office::TakesOver { term, .. } | Office::Serves { term, .. }, _) if leading != Some(term) => {
                self.end_reign();
                true
            }
            (Office::TakesOver { term, step: TakeOver::ProposeAt(at) }, _) if at <= self.now.instant => {
                self.take_over(term)
            }
            (Office::TakesOver { .. }, _) => false,
            // Another node has taken over, which this one learns from the log before it learns it from a message.
            (Office::Serves { reign, .. }, _) if self.replica.state().reign() != reign => {
                self.end_reign();
                true
            }
            (Office::Serves { .. }, _) => {
                self.tell_room();
                false
            }
        }
    }

    /// Drops the core. What it was asked and did not answer is unknown.
    fn end_reign(&mut self) {
        self.office = Office::Follows;
        self.writes.clear();
        self.hosted.leave(self.replica.leader());
    }

    /// Proposes a take-over. When it is applied here, so is everything that any earlier core has written, and no
    /// earlier core writes any more.
    fn take_over(&mut self, term: Term) -> bool {
        let call = self.propose(&Command::TakeOver);
        self.office = Office::TakesOver { term, step: TakeOver::Proposed(call) };
        true
    }

    fn propose(&mut self, command: &Command) -> CallId {
        self.last_call += 1;
        let call = CallId(OWN_CALLS | self.last_call);
        let deadline = self.now.instant.after(self.settings.write_timeout);
        let options = ProposeOptions { deadline, delivery: Delivery::AtMostOnce };
        self.replica.propose(self.now, call, command.encode(), options);
        call
    }

    /// Takes the outcome of a proposal of this group itself.
    fn on_outcome(&mut self, call: CallId, outcome: Outcome) {
        // If the leadership has changed, the core is dropped, and is told nothing any more.
        if self.follow_leadership() {
            return;
        }
        match self.office {
            Office::TakesOver { term, step: TakeOver::Proposed(proposed) } if proposed == call => {
                self.on_taken_over(term, outcome);
            }
            Office::Serves { .. } => {
                if let Some(ticket) = self.writes.take_in_flight(call) {
                    self.on_written(ticket, outcome);
                }
            }
            Office::Follows | Office::TakesOver { .. } => {}
        }
    }

    fn on_taken_over(&mut self, term: Term, outcome: Outcome) {
        let response = if let Outcome::Applied(response) = outcome { Response::decode(response) } else { None };
        match response {
            Some(Response::Reigns(reign)) if self.replica.state().reign() == reign => self.recover_core(term, reign),
            _ => {
                let at = self.now.instant.after(self.settings.retry);
                self.office = Office::TakesOver { term, step: TakeOver::ProposeAt(at) };
            }
        }
    }

    fn on_written(&mut self, ticket: Ticket, outcome: Outcome) {
        match outcome {
            Outcome::Applied(response) => match Response::decode(response) {
                Some(Response::Written) => self.signal(Signal::Persisted(ticket)),
                // Nothing was written, now or later, but this core is not the one that writes.
                _ => self.end_reign(),
            },
            Outcome::NotApplied(NotApplied::TooLarge | NotApplied::Refused { reason: RefuseReason::TooLarge, .. }) => {
                self.fail(ticket, PersistFailure::Refused { reason: WriteRefusal::TooLarge });
            }
            Outcome::NotApplied(_) => self.fail(ticket, PersistFailure::NotWritten),
            Outcome::Unknown { .. } => self.end_reign(),
        }
    }

    /// Recovers the core from everything that was written before this reign.
    fn recover_core(&mut self, term: Term, reign: Reign) {
        let recovered = (self.recover)(self.site.start(self.now, reign, self.replica.state().recovery()));
        match recovered {
            Ok(core) => self.hosted.serve(core),
            Err(error) => return self.halt = Some(HaltReason::NotRecovered(error.to_string())),
        }
        self.office = Office::Serves { term, reign };
        for (node, standing) in self.standings.clone() {
            self.signal(Signal::PeerStanding { node, standing });
        }
        self.told_room = StorageLevel::Enough;
        self.tell_room();
    }

    /// Tells the core when there is too little room for more records, or enough again.
    fn tell_room(&mut self) {
        let is_full = self.replica.state().records_bytes() >= self.settings.records_bytes_max / 2;
        let room = if is_full { StorageLevel::Low } else { self.disk };
        if room == self.told_room {
            return;
        }
        self.told_room = room;
        self.signal(Signal::Storage(room));
        if is_full {
            self.signal(Signal::CompactRequested);
        }
    }

    fn signal(&mut self, signal: Signal) {
        self.hosted.input(self.now, Input::Signal(signal));
    }

    /// A write was certainly not made, and so none of the later ones that wait.
    fn fail(&mut self, ticket: Ticket, failure: PersistFailure) {
        self.writes.clear();
        self.signal(Signal::PersistFailed { ticket, failure });
    }

    /// Proposes the next write of the core. Returns true if there was one.
    fn write_next(&mut self) -> bool {
        let Office::Serves { reign, .. } = self.office else { return false };
        let Some((ticket, operations)) = self.writes.next() else { return false };
        let log = self.replica.state();
        if let Err(reason) = log.check(&operations) {
            self.fail(ticket, PersistFailure::Refused { reason });
            return true;
        }
        let growth = log.growth(&operations);
        if growth > 0 && log.records_bytes() + growth > self.settings.records_bytes_max {
            self.fail(ticket, PersistFailure::NotWritten);
            return true;
        }
        let call = self.propose(&Command::Write { reign, operations });
        self.writes.begin(call, ticket);
        true
    }

    fn load(&mut self, ticket: Ticket, range: LoadRange) {
        let result = match range {
            LoadRange::Keys { range } => Ok(Loaded::Keys(self.replica.state().keys(range))),
            // Such entries were never written.
            LoadRange::Entries { .. } => Err(LoadFailure::Compacted),
        };
        self.signal(Signal::Loaded { ticket, result });
    }

    /// Carries out an output of the core, or returns it if it is the node's.
    fn on_core_output(&mut self, output: CoreOutput) -> Option<GroupOutput> {
        match output {
            CoreOutput::Group(output) => return Some(output),
            CoreOutput::Persist { ticket, operations } => self.writes.add(ticket, operations),
            CoreOutput::Load { ticket, range } => self.load(ticket, range),
            CoreOutput::Halt { reason } => self.halt = Some(reason),
        }
        None
    }

    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Timeout => {
                if self.hosted.deadline().is_some_and(|deadline| deadline <= self.now.instant) {
                    self.signal(Signal::Timeout);
                }
            }
            Signal::PeerStanding { node, standing } => {
                let node = if node == self.replica.seat().node { self.site.identity.node } else { node };
                self.standings.insert(node, standing);
                self.signal(Signal::PeerStanding { node, standing });
            }
            Signal::Storage(level) => {
                self.disk = level;
                self.tell_room();
            }
            Signal::PeerAlive(_) | Signal::PeerSilent { .. } | Signal::Unreachable(_) => self.signal(signal),
            // The stream of this group is the replicated log's.
            Signal::CompactRequested | Signal::Persisted(_) | Signal::PersistFailed { .. } | Signal::Loaded { .. } => {}
        }
    }

    /// Stops the whole group on this node.
    fn stop(&mut self, reason: &HaltReason) {
        self.is_halted = true;
        self.end_reign();
        self.hosted.halted(reason);
        self.replica.halted(reason);
    }
}

impl CoreSite {
    fn start(&self, now: Now, reign: Reign, recovery: Recovery) -> GroupStart {
        GroupStart {
            now,
            group: self.group,
            identity: self.identity,
            session: self.session,
            members: self.members.clone(),
            recovery,
            skipped: Vec::new(),
            // Each core draws other numbers.
            seed: self.seed ^ reign.0.0.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            frame_bytes_max: self.frame_bytes_max,
            write_bytes_max: self.write_bytes_max,
        }
    }
}

impl<L: ReplicatedLog + Hostable, P: Hostable> Group for Bound<L, P> {
    fn handle(&mut self, now: Now, input: GroupInput) {
        self.now = self.now.advanced_to(now);
        match input {
            GroupInput::Frame(received) if received.frame.channel() == self.hosted.channel() => {
                return self.hosted.on_frame(self.now, received);
            }
            GroupInput::Signal(ref signal) => self.on_signal(signal.clone()),
            _ => {}
        }
        self.replica.handle(now, input);
    }

    fn poll_output(&mut self) -> Option<GroupOutput> {
        // The calls of the application to the core came with a time, too.
        self.now = self.now.advanced_to(self.hosted.now());
        loop {
            if let Some(reason) = self.halt.take_if(|_| !self.is_halted) {
                self.stop(&reason);
                return Some(GroupOutput::Halt { reason });
            }
            match self.replica.poll_output() {
                Some(GroupOutput::Reply { call, reply }) if call.0 & OWN_CALLS != 0 => {
                    if let Reply::Outcome(outcome) = reply {
                        self.on_outcome(call, outcome);
                    }
                    continue;
                }
                Some(GroupOutput::Halt { reason }) => {
                    self.halt = Some(reason);
                    continue;
                }
                Some(output) => return Some(output),
                None => {}
            }
            if !self.is_halted && self.follow_leadership() {
                continue;
            }
            if let Some(output) = self.hosted.poll_core_output() {
                match self.on_core_output(output) {
                    Some(output) => return Some(output),
                    None => continue,
                }
            }
            if !self.write_next() {
                return None;
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.is_halted {
            return None;
        }
        let retry = match self.office {
            Office::TakesOver { step: TakeOver::ProposeAt(at), .. } => Some(at),
            _ => None,
        };
        [self.replica.deadline(), self.hosted.deadline(), retry].into_iter().flatten().min()
    }

    fn halted(&mut self, reason: &HaltReason) {
        self.stop(reason);
    }

    fn channel(&self) -> ChannelId {
        self.hosted.channel()
    }

    fn is_settled(&self) -> bool {
        self.is_halted || self.replica.is_settled()
    }

    fn listeners(&self) -> usize {
        self.hosted.listeners()
    }

    fn may_rest(&self) -> bool {
        self.replica.may_rest()
    }

    fn rest(&self) -> Option<Rest> {
        self.replica.rest()
    }

    fn part(&self, wanted: TypeId) -> Option<&dyn Any> {
        match wanted {
            _ if wanted == TypeId::of::<Hosted<P>>() => Some(&self.hosted),
            _ if wanted == TypeId::of::<Replica<L, BoundLog>>() => Some(&self.replica),
            _ => None,
        }
    }

    fn part_mut(&mut self, wanted: TypeId) -> Option<&mut dyn Any> {
        match wanted {
            _ if wanted == TypeId::of::<Hosted<P>>() => Some(&mut self.hosted),
            _ if wanted == TypeId::of::<Replica<L, BoundLog>>() => Some(&mut self.replica),
            _ => None,
        }
    }

    fn measure(&self, tell: &mut dyn FnMut(MetricKind, &'static str, u64)) {
        self.replica.measure(tell);
        tell(MetricKind::Gauge, metrics::SERVES_CORE, u64::from(self.reign().is_some()));
        tell(MetricKind::Gauge, metrics::RECORD_BYTES, self.replica.state().records_bytes() as u64);
        tell(MetricKind::Counter, metrics::MESSAGES_NOT_SERVED, self.hosted.messages_not_served());
    }
}

impl<L: fmt::Debug, P: Hostable> fmt::Debug for Bound<L, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("office", &self.office)
            .field("replica", &self.replica)
            .field("hosted", &self.hosted)
            .finish_non_exhaustive()
    }
}

/// The bit that marks the calls of the group itself. A node counts its calls from zero.
const OWN_CALLS: u64 = 1 << 63;

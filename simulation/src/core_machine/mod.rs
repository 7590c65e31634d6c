//! A replicated-log core alone, on a simple log, with registers as its state machine.
//!
//! It replaces everything around a core (replica, node, log, snapshot store) by the simplest possible parts, so that a
//! failure must be the core's.

mod laws;
mod outside;

pub use laws::{CoreLaws, VoteOf};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::hash::Hash;

use quorate_protocol::testing::Stream;
use quorate_protocol::{
    Incarnation, Input, Instant, LoadFailure, LogAnswer, LogCommand, LogIndex, NodeId, Now, Operation, PersistFailure,
    Random, ReadId, ReplicatedLog, SessionId, Signal, SnapshotMeta, Standing, StorageLevel, Term, Ticket, Wire,
};

use crate::flipped::flip_bit_of_entries;
use crate::registers::{RegisterRequest, RegisterState, Response};
use crate::schedule::FaultKind;
use crate::world::{ClientAnswer, Damage, Loss, Machine, MachineInput, MachineOutput, Observation, reached};

/// Settings that all nodes with a core share.
pub struct CoreSetup<P: ReplicatedLog> {
    /// Number of nodes. Their ids run from 1 to this number, and all are voters.
    pub nodes: u64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Number of applied entries after which a snapshot is made.
    pub snapshot_every: u64,
    /// Number of bytes of its log that a core gets when it starts.
    pub tail_bytes_max: usize,
    /// Makes a node's configuration, with this seed for its random numbers.
    pub config: fn(node: NodeId, nodes: u64, seed: u64) -> P::Config,
}

/// State that survives a crash.
#[derive(Clone, Debug)]
pub struct CoreDisk {
    /// The log, and the metadata of the newest snapshot.
    pub stream: Stream,
    /// The content of the newest snapshot.
    registers: RegisterState,
    /// The incarnations that this node knows.
    known: BTreeMap<NodeId, u64>,
    /// The node's own incarnation. Above one, the disk was wiped, and the node is a stranger even to itself.
    incarnation: u64,
    starts: u32,
    /// Faults of the disk.
    trouble: Trouble,
}

/// Faults of a disk.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    /// The next write fails, and it is unknown whether it is on the disk.
    fails_next_write: bool,
    fails_reads: bool,
    is_full: bool,
}

impl CoreDisk {
    /// True if an earlier disk of this node was lost.
    #[must_use]
    pub fn is_wiped(&self) -> bool {
        self.incarnation > 1
    }

    fn has_snapshot_of(&self, index: LogIndex) -> bool {
        self.stream.snapshot.as_ref().is_some_and(|newest| newest.index >= index)
    }

    /// Keeps a snapshot, unless there is a newer one.
    fn keep(&mut self, meta: SnapshotMeta, registers: RegisterState) {
        if !self.has_snapshot_of(meta.index) {
            (self.stream.snapshot, self.registers) = (Some(meta), registers);
        }
    }
}

/// Messages between nodes: those of the core, and snapshots.
#[derive(Clone)]
pub enum CoreMessage<M> {
    /// A message of the core.
    Core(M),
    /// A whole snapshot, from a leader.
    Snapshot {
        /// The leader's term.
        term: Term,
        /// Metadata of the snapshot.
        meta: SnapshotMeta,
        /// Content of the snapshot.
        registers: Box<RegisterState>,
    },
    /// A snapshot is durable at the receiver.
    SnapshotTaken {
        /// Last index that the snapshot covers.
        index: LogIndex,
    },
}

impl<M: fmt::Debug> fmt::Debug for CoreMessage<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(message) => message.fmt(f),
            Self::Snapshot { term, meta, .. } => {
                f.debug_struct("Snapshot").field("index", &meta.index).field("term", term).finish_non_exhaustive()
            }
            Self::SnapshotTaken { index } => f.debug_struct("SnapshotTaken").field("index", index).finish(),
        }
    }
}

impl<M: Hash> Hash for CoreMessage<M> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::Core(message) => message.hash(state),
            Self::Snapshot { term, meta, registers } => (term, meta.index, registers.digest()).hash(state),
            Self::SnapshotTaken { index } => index.hash(state),
        }
    }
}

/// A core and the parts around it.
pub struct CoreMachine<P: ReplicatedLog> {
    node: NodeId,
    core: P,
    snapshot_every: u64,
    /// Number of entries that are kept after a snapshot, for peers that lag.
    kept: u64,
    session: SessionId,
    registers: RegisterState,
    /// Index and term of the last applied entry.
    applied: (LogIndex, Term),
    log_time: quorate_protocol::LogTime,
    /// Index of the first applied entry whose log time was below that of the entry before it.
    log_time_fell_at: Option<LogIndex>,
    /// Nodes that the core reported to have lost what they acknowledged.
    accused: BTreeSet<NodeId>,
    next_number: u64,
    /// Proposals that the core has not answered yet.
    proposed: BTreeMap<u64, (u64, RegisterRequest)>,
    /// Proposals that were appended at this index in this term, and are not applied yet.
    appended: BTreeMap<LogIndex, (Term, u64)>,
    reads: BTreeMap<ReadId, (u64, u8)>,
    /// Reads that wait until this index is applied.
    ready: BTreeMap<LogIndex, Vec<(u64, u8)>>,
    /// Pending operations of the disk, by token.
    work: BTreeMap<u64, Work>,
    /// True while entries to apply are being loaded.
    is_loading: bool,
    is_building: bool,
    receiving: Option<(Ticket, NodeId, Term, LogIndex)>,
    /// A snapshot that arrived before the core asked for it, with its sender and the sender's term.
    early: Option<(NodeId, Term, SnapshotMeta, Box<RegisterState>)>,
    sending: BTreeMap<NodeId, (Ticket, LogIndex, Instant)>,
    /// The storage level, if the core has not been told yet.
    storage: Option<StorageLevel>,
    outputs: VecDeque<MachineOutput<CoreMessage<P::Message>, Response>>,
    /// Number of the start of its disk, and the time of its last input.
    start: u32,
    now: Now,
    /// The last observation that was reported: term, whether the node leads, and commit index.
    told: Observation,
}

/// A pending operation of the disk.
enum Work {
    Persist { ticket: Ticket, operations: Vec<Operation> },
    LoadForCore { ticket: Ticket, range: quorate_protocol::LoadRange },
    LoadToApply { range: quorate_protocol::LoadRange },
    Build { meta: SnapshotMeta, registers: Box<RegisterState> },
    Receive { ticket: Ticket, from: NodeId, meta: SnapshotMeta, registers: Box<RegisterState> },
}

impl Trouble {
    fn failure_of(self, work: &Work) -> Option<PersistFailure> {
        match work {
            Work::LoadForCore { .. } | Work::LoadToApply { .. } => self.fails_reads.then_some(PersistFailure::Unknown),
            _ if self.is_full => Some(PersistFailure::NotWritten),
            Work::Persist { .. } if self.fails_next_write => Some(PersistFailure::Unknown),
            _ => None,
        }
    }
}

impl<P> CoreMachine<P>
where
    P: ReplicatedLog,
{
    /// The core.
    pub fn core(&self) -> &P {
        &self.core
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn answer(&mut self, call: u64, answer: ClientAnswer<Response>) {
        self.outputs.push_back(MachineOutput::Answer { call, answer });
    }

    fn ask_disk(&mut self, work: Work) {
        let token = self.number();
        self.outputs.push_back(match work {
            Work::LoadForCore { .. } | Work::LoadToApply { .. } => MachineOutput::Read { token },
            Work::Build { .. } => MachineOutput::Build { token },
            Work::Persist { .. } | Work::Receive { .. } => MachineOutput::Write { token },
        });
        self.work.insert(token, work);
    }

    fn on_message(&mut self, now: Now, disk: &mut CoreDisk, from: NodeId, message: CoreMessage<P::Message>) {
        match message {
            CoreMessage::Core(message) => self.core.handle(now, Input::Message { from, message }),
            CoreMessage::Snapshot { term, meta, registers } => {
                if disk.has_snapshot_of(meta.index) {
                    let message = CoreMessage::SnapshotTaken { index: meta.index };
                    self.outputs.push_back(MachineOutput::Send { to: from, message });
                } else {
                    self.early = Some((from, term, meta, registers));
                    self.receive();
                }
            }
            CoreMessage::SnapshotTaken { index } => {
                if let Some((ticket, sent, _)) = self.sending.get(&from).copied()
                    && sent == index
                {
                    self.sending.remove(&from);
                    self.outputs.push_back(MachineOutput::Sometimes(A_SNAPSHOT_SENT));
                    self.core
                        .handle(now, Input::Completed { ticket, answer: LogAnswer::SnapshotSent { to: from, index } });
                }
            }
        }
    }

    /// Takes in the snapshot that the core waits for, if it has arrived.
    pub(super) fn receive(&mut self) {
        let Some((ticket, leader, of_term, index)) = self.receiving else { return };
        let is_it = |(from, term, meta, _): &mut (NodeId, Term, SnapshotMeta, _)| {
            (leader, of_term, index) == (*from, *term, meta.index)
        };
        if let Some((from, _, meta, registers)) = self.early.take_if(is_it) {
            self.receiving = None;
            self.ask_disk(Work::Receive { ticket, from, meta, registers });
        }
    }

    fn on_done(&mut self, now: Now, disk: &mut CoreDisk, work: Work) {
        match work {
            Work::Persist { ticket, operations } => {
                disk.stream.write(&operations);
                self.core.handle(now, Input::Signal(Signal::Persisted(ticket)));
            }
            Work::LoadForCore { ticket, range } => match disk.stream.load(&range) {
                Ok(loaded) => self.core.handle(now, Input::Signal(Signal::Loaded { ticket, result: Ok(loaded) })),
                Err(failure) => self.core.handle(now, Input::Signal(Signal::Loaded { ticket, result: Err(failure) })),
            },
            Work::LoadToApply { range } => {
                self.is_loading = false;
                // If entries were compacted meanwhile, a snapshot brings them.
                if let Ok(quorate_protocol::Loaded::Entries(entries)) = disk.stream.load(&range) {
                    self.apply(entries);
                }
            }
            Work::Build { meta, registers } => {
                self.is_building = false;
                if !disk.has_snapshot_of(meta.index) {
                    disk.keep(meta.clone(), *registers);
                    let keep_from = LogIndex(meta.index.0.saturating_sub(self.kept));
                    let compact = LogCommand::Compact { snapshot: meta, keep_from };
                    self.core.handle(now, Input::Command(compact));
                }
            }
            Work::Receive { ticket, from, meta, registers } => {
                disk.keep(meta.clone(), *registers);
                let message = CoreMessage::SnapshotTaken { index: meta.index };
                self.outputs.push_back(MachineOutput::Send { to: from, message });
                let answer = LogAnswer::SnapshotDurable { snapshot: meta };
                self.core.handle(now, Input::Completed { ticket, answer });
            }
        }
    }

    /// An operation of the disk failed, or its outcome is unknown.
    fn on_failed(&mut self, now: Now, disk: &mut CoreDisk, work: Work, failure: PersistFailure) {
        match work {
            Work::Persist { ticket, operations } => {
                if failure == PersistFailure::NotWritten {
                    self.outputs.push_back(MachineOutput::Sometimes(A_WRITE_REFUSED));
                } else {
                    disk.trouble.fails_next_write = false;
                    self.outputs.push_back(MachineOutput::Sometimes(reached::LOG_POISONED));
                    if ticket.0.is_multiple_of(2) {
                        disk.stream.write(&operations);
                    }
                }
                // If a write fails, all later ones fail too.
                self.work.retain(|_, later| !matches!(later, Work::Persist { .. }));
                self.core.handle(now, Input::Signal(Signal::PersistFailed { ticket, failure }));
            }
            Work::Build { .. } => self.is_building = false,
            Work::Receive { ticket, .. } => {
                self.core.handle(now, Input::Completed { ticket, answer: LogAnswer::SnapshotReceiveFailed });
            }
            Work::LoadForCore { ticket, .. } => {
                self.outputs.push_back(MachineOutput::Sometimes(A_READ_FAILED));
                self.core.handle(now, Input::Signal(Signal::Loaded { ticket, result: Err(LoadFailure::Io) }));
            }
            Work::LoadToApply { .. } => {
                self.outputs.push_back(MachineOutput::Sometimes(A_READ_FAILED));
                self.is_loading = false;
            }
        }
    }

    /// Tells the core the standing of a peer, which may have another incarnation than before.
    fn meet(&mut self, now: Now, disk: &mut CoreDisk, peer: NodeId, incarnation: u64) {
        let standing = match disk.known.insert(peer, incarnation) {
            None => Standing::Member,
            Some(known) if known == incarnation => return,
            Some(known) => {
                disk.known.insert(peer, known);
                Standing::Stranger
            }
        };
        self.core.handle(now, Input::Signal(Signal::PeerStanding { node: peer, standing }));
    }

    /// Gives up snapshots that were not acknowledged in time.
    fn give_up_sending(&mut self, now: Now) {
        let is_late = |(_, (_, _, until)): &(&NodeId, &(Ticket, LogIndex, Instant))| *until <= now.instant;
        let late: Vec<NodeId> = self.sending.iter().filter(is_late).map(|(to, _)| *to).collect();
        for to in late {
            let (ticket, ..) = self.sending.remove(&to).expect("just seen");
            self.core.handle(now, Input::Completed { ticket, answer: LogAnswer::SnapshotSendFailed { to } });
        }
    }
}

impl<P> Machine for CoreMachine<P>
where
    P: ReplicatedLog,
    P::Message: Hash,
{
    type Setup = CoreSetup<P>;
    type Message = CoreMessage<P::Message>;
    type Call = RegisterRequest;
    type Answer = Response;
    type Disk = CoreDisk;

    const EXPECTED: &'static [&'static str] = &[
        reached::LEADER_ELECTED,
        reached::SNAPSHOT_INSTALLED,
        reached::LOG_POISONED,
        A_SNAPSHOT_SENT,
        ENTRIES_LOADED,
        OVERWRITTEN,
        A_WRITE_REFUSED,
        A_READ_FAILED,
        CLOCK_NOT_FOLLOWED,
    ];

    fn fresh_disk(setup: &CoreSetup<P>, node: NodeId, incarnation: u64) -> CoreDisk {
        let first = (1..=setup.nodes).map(|node| (NodeId(node), 1));
        let known = if incarnation == 1 { first.collect() } else { BTreeMap::from([(node, incarnation)]) };
        CoreDisk {
            stream: Stream::default(),
            registers: RegisterState::default(),
            known,
            incarnation,
            starts: 0,
            trouble: Trouble::default(),
        }
    }

    fn copy_disk(disk: &CoreDisk) -> CoreDisk {
        CoreDisk { trouble: Trouble::default(), ..disk.clone() }
    }

    fn start(setup: &CoreSetup<P>, node: NodeId, now: Now, disk: &mut CoreDisk) -> Result<Self, String> {
        disk.starts += 1;
        let recovery = disk.stream.recovery(setup.tail_bytes_max);
        let seed = setup.seed ^ (node.0 << 40) ^ (u64::from(disk.starts) << 20) ^ disk.incarnation;
        let core = P::recover(now, (setup.config)(node, setup.nodes, seed), recovery);
        let incarnation = Incarnation(u128::from(node.0) << 64 | u128::from(disk.incarnation));
        let mut machine = Self {
            node,
            core: core.map_err(|error| error.to_string())?,
            snapshot_every: setup.snapshot_every,
            kept: kept_behind_snapshots(setup, node),
            session: SessionId { incarnation, start: disk.starts },
            registers: RegisterState::default(),
            applied: (LogIndex::ZERO, Term(0)),
            log_time: quorate_protocol::LogTime(0),
            log_time_fell_at: None,
            accused: BTreeSet::new(),
            next_number: 0,
            proposed: BTreeMap::new(),
            appended: BTreeMap::new(),
            reads: BTreeMap::new(),
            ready: BTreeMap::new(),
            work: BTreeMap::new(),
            is_loading: false,
            is_building: false,
            receiving: None,
            early: None,
            sending: BTreeMap::new(),
            storage: disk.trouble.is_full.then_some(StorageLevel::Low),
            outputs: VecDeque::new(),
            start: disk.starts,
            now,
            told: Observation::default(),
        };
        machine.restore(disk);
        for (known, incarnation) in &disk.known {
            let is_known = *known != node || *incarnation == 1;
            let standing = if is_known { Standing::Member } else { Standing::Stranger };
            machine.core.handle(now, Input::Signal(Signal::PeerStanding { node: *known, standing }));
        }
        Ok(machine)
    }

    fn handle(&mut self, now: Now, disk: &mut CoreDisk, input: MachineInput<Self::Message, RegisterRequest>) {
        self.now = now;
        match input {
            MachineInput::Message { from, incarnation, message } => {
                self.meet(now, disk, from, incarnation);
                self.on_message(now, disk, from, message);
            }
            MachineInput::LinkUp { peer, incarnation } => {
                self.meet(now, disk, peer, incarnation);
                self.core.handle(now, Input::Signal(Signal::PeerAlive(peer)));
            }
            MachineInput::LinkDown { peer } => self.core.handle(now, Input::Signal(Signal::Unreachable(peer))),
            // There is but one group, without a node around it.
            MachineInput::AddGroup { .. } | MachineInput::RemoveGroup { .. } | MachineInput::ChangeMembers(_) => {}
            MachineInput::Transfer { to } => {
                let transfer = LogCommand::Transfer { to: Some(to), timeout: TRANSFER_TIMEOUT };
                self.core.handle(now, Input::Command(transfer));
            }
            MachineInput::Timeout => {
                self.give_up_sending(now);
                if self.core.deadline().is_some_and(|deadline| deadline <= now.instant) {
                    self.core.handle(now, Input::Signal(Signal::Timeout));
                }
            }
            MachineInput::Call { call, what } => self.call(now, call, what),
            MachineInput::Done { token } => {
                let Some(work) = self.work.remove(&token) else { return };
                match disk.trouble.failure_of(&work) {
                    None => self.on_done(now, disk, work),
                    Some(failure) => self.on_failed(now, disk, work, failure),
                }
            }
        }
        self.core.check_invariants();
    }

    fn poll(&mut self, now: Now, disk: &mut CoreDisk) -> Option<MachineOutput<Self::Message, Response>> {
        if let Some(level) = self.storage.take() {
            self.core.handle(now, Input::Signal(Signal::Storage(level)));
        }
        while self.outputs.is_empty() {
            let Some(output) = self.core.poll_output() else {
                self.pull(disk);
                break;
            };
            self.carry_out(now, disk, output);
        }
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        let sending = self.sending.values().map(|(_, _, until)| *until).min();
        [self.core.deadline(), sending].into_iter().flatten().min()
    }

    fn crash(self, disk: &mut CoreDisk, loss: Loss, random: &mut Random) {
        // Writes reach the disk in the order in which they were queued: none of them did, all did, or the first ones
        // did.
        for work in self.work.into_values() {
            let is_lost = match loss {
                Loss::Nothing => false,
                Loss::Unsynced | Loss::Names => true,
                Loss::Torn | Loss::Garbage => random.between(0, 2) == 0,
            };
            if is_lost || disk.trouble.is_full {
                break;
            }
            match work {
                Work::Persist { operations, .. } => disk.stream.write(&operations),
                Work::Build { meta, registers } | Work::Receive { meta, registers, .. } => {
                    disk.keep(meta, *registers);
                }
                Work::LoadForCore { .. } | Work::LoadToApply { .. } => {}
            }
        }
        disk.trouble.fails_next_write = false;
    }

    /// The simple log has neither sectors nor files. Damage to these is tested with the real log.
    fn bears(kind: FaultKind) -> bool {
        !matches!(
            kind,
            FaultKind::GarbageSectors
                | FaultKind::LostNames
                | FaultKind::BitRot
                | FaultKind::MisdirectedWrite
                | FaultKind::LostFolder
                | FaultKind::LostRequests
        )
    }

    fn damage(disk: &mut CoreDisk, running: Option<&mut Self>, damage: Damage, _random: &mut Random) -> bool {
        match damage {
            Damage::ReadErrors => disk.trouble.fails_reads = true,
            Damage::WriteError | Damage::SyncError => disk.trouble.fails_next_write = running.is_some(),
            Damage::FullDisk => {
                disk.trouble.is_full = true;
                if let Some(machine) = running {
                    machine.storage = Some(StorageLevel::Low);
                }
            }
            Damage::BitRot | Damage::MisdirectedWrite => return false,
        }
        true
    }

    fn mend(disk: &mut CoreDisk, running: Option<&mut Self>, damage: Damage) {
        match damage {
            Damage::ReadErrors => disk.trouble.fails_reads = false,
            Damage::WriteError | Damage::SyncError => disk.trouble.fails_next_write = false,
            Damage::FullDisk => {
                disk.trouble.is_full = false;
                if let Some(machine) = running {
                    machine.storage = Some(StorageLevel::Enough);
                }
            }
            Damage::BitRot | Damage::MisdirectedWrite => {}
        }
    }

    fn flip_bit(message: &mut Self::Message, random: &mut Random) -> bool {
        let CoreMessage::Core(whole) = message else { return false };
        let mut raw = Vec::new();
        let small = whole.to_parts(&mut raw);
        let Some(section) = raw.first_mut() else { return false };
        let Some(flipped) = flip_bit_of_entries(section, random) else { return false };
        *section = flipped;
        let Ok(flipped) = P::Message::from_parts(small, raw) else { return false };
        *whole = flipped;
        true
    }

    fn message_bytes(message: &Self::Message) -> u64 {
        let body = match message {
            CoreMessage::Core(message) => {
                let mut raw = Vec::new();
                message.to_parts(&mut raw);
                raw.iter().map(bytes::Bytes::len).sum()
            }
            CoreMessage::Snapshot { registers, .. } => registers.bytes(),
            CoreMessage::SnapshotTaken { .. } => 0,
        };
        HEADER_BYTES + body as u64
    }

    fn observe(&self) -> Observation {
        Observation { applied: self.applied.0.0, digest: self.registers.digest(), ..self.told }
    }
}

const A_SNAPSHOT_SENT: &str = "a snapshot was sent";
const ENTRIES_LOADED: &str = "committed entries were loaded from the log";
const OVERWRITTEN: &str = "an appended proposal was overwritten";
const A_WRITE_REFUSED: &str = "a write was refused by a full disk";
const A_READ_FAILED: &str = "a read of the log failed";
const CLOCK_NOT_FOLLOWED: &str = "a jump of the wall clock was not followed";
const TRANSFER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);
/// Approximate size of a message without its payloads.
const HEADER_BYTES: u64 = 64;

/// Nodes keep different numbers of entries, so that one node can bring a peer up with entries while another must send a
/// snapshot.
fn kept_behind_snapshots<P: ReplicatedLog>(setup: &CoreSetup<P>, node: NodeId) -> u64 {
    let mut random = Random::new(setup.seed ^ (node.0 << 32) ^ 0x6b65_7074);
    match random.between(0, 4) {
        0 => random.between(0, 1_000),
        _ => setup.snapshot_every.min(20),
    }
}

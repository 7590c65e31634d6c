//! A replicated log that follows a script of the test, for behaviour that a correct log never shows.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use quorate_protocol::{
    Committed, Configuration, DiskState, Entry, EntryHeader, EntryKind, GroupId, Incarnation, Input, Instant,
    LogAnswer, LogCommand, LogEvent, LogIndex, LogRequest, LogStatus, LogTime, NodeId, Now, Operation, Output,
    PeerProgress, Proposal, ProposalId, Protocol, RecoverError, Recovery, ReplicatedLog, Role, SessionId, SnapshotMeta,
    Term, Ticket, VotingBar, Wire, WireError, crc32c,
};
use quorate_runtime::ReplicaSettings;
use quorate_runtime::group::{Group, GroupInput, GroupOutput};
use quorate_runtime::replica::{Replica, Seat};
use quorate_runtime::testing::{Ledger, LedgerFiles, MemorySnapshots, StoredState};
use quorate_transport::{ChannelId, Frame, Received, Sender, codec};

/// The scripted log. The test holds its script as well.
#[derive(Clone, Debug)]
pub(crate) struct Scripted(Arc<Mutex<Script>>);

/// If it leads at all, it leads from the start, and commits proposals at once.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) entries: Vec<(Term, Entry)>,
    /// Entries below this are not in the cache.
    pub(crate) cache_from: LogIndex,
    pub(crate) disk: DiskState,
    pub(crate) barred: Option<VotingBar>,
    /// The last durable entry, if it is not the last one.
    pub(crate) durable: Option<LogIndex>,
    pub(crate) peers: Vec<PeerProgress>,
    /// The end of its lease.
    pub(crate) leased_until: Instant,
    /// Proposals are appended here, and are not committed.
    pub(crate) appends_at: Option<LogIndex>,
    pub(crate) answers: Vec<LogAnswer>,
    pub(crate) commands: Vec<LogCommand>,
    outputs: VecDeque<Output<Scripted>>,
    is_leader: bool,
}

/// A message without content.
#[derive(Clone, Debug)]
pub(crate) struct Nothing;

impl Wire for Nothing {
    type Small = ();

    fn to_parts(&self, _: &mut Vec<Bytes>) {}

    fn from_parts((): (), _: Vec<Bytes>) -> Result<Self, WireError> {
        Ok(Self)
    }
}

impl Protocol for Scripted {
    type Config = Arc<Mutex<Script>>;
    type Message = Nothing;
    type Command = LogCommand;
    type Event = LogEvent;
    type Request = LogRequest;
    type Answer = LogAnswer;
    type View = ();

    fn recover(_: Now, script: Self::Config, _: Recovery) -> Result<Self, RecoverError> {
        Ok(Self(script))
    }

    fn handle(&mut self, _: Now, input: Input<Self>) {
        let mut script = self.script();
        match input {
            Input::Command(LogCommand::Propose(proposal)) => {
                let Proposal { id, kind, acknowledged_below, payload, checksum } = proposal;
                let header = EntryHeader { kind, id, acknowledged_below, log_time: NOW, checksum, elided_length: None };
                let entry = Entry { header, payload };
                match script.appends_at {
                    Some(index) => script.event(LogEvent::Appended { id, index, term: Term(1) }),
                    None => script.commit(Term(1), entry),
                }
            }
            Input::Command(LogCommand::Read { id }) => {
                let index = LogIndex(script.entries.len() as u64);
                script.event(LogEvent::ReadReady { id, index });
            }
            Input::Command(command) => script.commands.push(command),
            Input::Completed { answer, .. } => script.answers.push(answer),
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        self.script().outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn model_view(&self) {}

    fn check_invariants(&self) {}
}

impl ReplicatedLog for Scripted {
    fn lease(&self, now: Now) -> Option<LogIndex> {
        let script = self.script();
        (now.instant < script.leased_until).then(|| LogIndex(script.entries.len() as u64))
    }

    fn entries(&self, from: LogIndex, bytes_max: usize) -> Committed {
        let script = self.script();
        let place = usize::try_from(from.0 - 1).expect("small");
        if from < script.cache_from {
            let range = Range { start: from, end: script.cache_from };
            return Committed::NeedsLoad(range);
        }
        let mut bytes = 0;
        let fitting = script.entries[place..].iter().take_while(|(_, entry)| {
            let is_fitting = bytes < bytes_max;
            bytes += entry.encoded_len();
            is_fitting
        });
        Committed::Cached(
            (from.0..).zip(fitting).map(|(index, (term, entry))| (LogIndex(index), *term, entry.clone())).collect(),
        )
    }

    fn log_time(&self, now: Now) -> LogTime {
        LogTime(now.wall_ms)
    }

    fn status(&self) -> LogStatus {
        let script = self.script();
        let last = LogIndex(script.entries.len() as u64);
        let (role, leader) = if script.is_leader { (Role::Leader, ME) } else { (Role::Follower, LEADER) };
        LogStatus {
            node: ME,
            role,
            term: Term(1),
            leader: Some(leader),
            first_index: LogIndex(1),
            last_index: last,
            durable_index: script.durable.unwrap_or(last),
            commit_index: last,
            log_time: NOW,
            wall_ahead_ms: Some(0),
            configuration: Configuration::of_voters([ME, LEADER]),
            configuration_index: LogIndex(1),
            barred: script.barred,
            disk: script.disk,
            halted: None,
            peers: script.peers.clone(),
            ignored: Vec::new(),
        }
    }
}

impl Scripted {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().expect("no panic holds it")
    }
}

impl Script {
    fn new(is_leader: bool) -> Self {
        Self {
            entries: Vec::new(),
            cache_from: LogIndex(1),
            disk: DiskState::Ready,
            barred: None,
            durable: None,
            peers: Vec::new(),
            leased_until: Instant::ZERO,
            appends_at: None,
            answers: Vec::new(),
            commands: Vec::new(),
            outputs: VecDeque::new(),
            is_leader,
        }
    }

    /// Appends and commits an entry.
    pub(crate) fn commit(&mut self, term: Term, entry: Entry) {
        let id = entry.header.id;
        self.entries.push((term, entry));
        let index = LogIndex(self.entries.len() as u64);
        self.outputs.push_back(Output::Event(LogEvent::Appended { id, index, term }));
        self.outputs.push_back(Output::Event(LogEvent::Committed { index }));
    }

    pub(crate) fn request(&mut self, request: LogRequest) {
        self.outputs.push_back(Output::Request { ticket: Ticket(1), request });
    }

    pub(crate) fn persist(&mut self, operations: Vec<Operation>) {
        self.outputs.push_back(Output::Persist { ticket: Ticket(1), operations });
    }

    pub(crate) fn event(&mut self, event: LogEvent) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// A replica on such a log, with its outputs.
pub(crate) struct Bench {
    pub(crate) replica: Replica<Scripted, Ledger>,
    script: Arc<Mutex<Script>>,
    pub(crate) store: MemorySnapshots,
    pub(crate) now: Now,
    pub(crate) outputs: Vec<GroupOutput>,
}

impl Bench {
    pub(crate) fn leader(settings: ReplicaSettings) -> Self {
        Self::start(settings, true, Recovery::default(), Ledger::default(), MemorySnapshots::default())
    }

    pub(crate) fn follower(settings: ReplicaSettings) -> Self {
        Self::start(settings, false, Recovery::default(), Ledger::default(), MemorySnapshots::default())
    }

    /// Makes a replica of a log with these entries, and a state machine that has stored its state up to this index.
    ///
    /// # Errors
    /// When the replica does not start.
    pub(crate) fn start_stored(entries: Vec<(Term, Entry)>, applied: u64) -> Result<Self, RecoverError> {
        let state = StoredState { applied: LogIndex(applied), ..StoredState::default() };
        let ledger = Ledger::open(LedgerFiles::with(state));
        let script = Script { entries, ..Script::new(true) };
        Self::make(ReplicaSettings::default(), script, Recovery::default(), ledger, MemorySnapshots::default())
    }

    pub(crate) fn start(
        settings: ReplicaSettings,
        is_leader: bool,
        recovery: Recovery,
        state: Ledger,
        store: MemorySnapshots,
    ) -> Self {
        Self::make(settings, Script::new(is_leader), recovery, state, store).expect("it has no reason")
    }

    /// Returns the reason why the replica does not start, if it does not.
    pub(crate) fn try_start(settings: ReplicaSettings, state: Ledger) -> Option<RecoverError> {
        Self::make(settings, Script::new(true), Recovery::default(), state, MemorySnapshots::default()).err()
    }

    fn make(
        settings: ReplicaSettings,
        script: Script,
        recovery: Recovery,
        state: Ledger,
        store: MemorySnapshots,
    ) -> Result<Self, RecoverError> {
        let now = Now { instant: Instant::from_nanos(1_000_000_000), wall_ms: NOW.0 };
        let session = SessionId { incarnation: Incarnation(1), start: 1 };
        let seat = Seat { group: GROUP, node: ME, session };
        let script = Arc::new(Mutex::new(script));
        let replica = Replica::recover(now, seat, settings, script.clone(), recovery, state)?;
        Ok(Self { replica, script, store, now, outputs: Vec::new() })
    }

    /// Returns the script of the log, with its inputs.
    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no panic holds it")
    }

    /// Makes the log do something.
    pub(crate) fn log(&mut self, act: impl FnOnce(&mut Script)) {
        act(&mut self.script());
        self.settle();
    }

    pub(crate) fn give(&mut self, input: GroupInput) {
        self.replica.handle(self.now, input);
        self.settle();
    }

    /// Polls one turn, and carries out its snapshot operations at once.
    pub(crate) fn settle(&mut self) {
        while let Some(output) = self.replica.poll_output() {
            if let GroupOutput::Snapshot { ticket, operation } = output {
                let result = self.store.perform(operation);
                self.replica.handle(self.now, GroupInput::Snapshot { ticket, result });
            } else {
                self.outputs.push(output);
            }
        }
    }
}

pub(crate) fn entry(kind: EntryKind, payload: &[u8]) -> Entry {
    Entry::internal(kind, NOW, Bytes::copy_from_slice(payload))
}

/// A proposal of some other node.
pub(crate) fn foreign(payload: &[u8]) -> Entry {
    let id = ProposalId { session: SessionId { incarnation: Incarnation(9), start: 1 }, sequence: 1 };
    let header = EntryHeader { id, ..entry(EntryKind::Command, payload).header };
    Entry { header: EntryHeader { checksum: crc32c(payload), ..header }, payload: Bytes::copy_from_slice(payload) }
}

pub(crate) fn snapshot_meta(index: u64) -> SnapshotMeta {
    let configuration = Configuration::of_voters([ME, LEADER]);
    SnapshotMeta { index: LogIndex(index), term: Term(1), log_time: NOW, configuration }
}

pub(crate) const GROUP: GroupId = GroupId(1);
pub(crate) const ME: NodeId = NodeId(1);
pub(crate) const LEADER: NodeId = NodeId(2);
pub(crate) const NOW: LogTime = LogTime(1_000_000);

/// A piece of a snapshot in the wire format, with the checksum of that content.
pub(crate) fn piece(term: Term, meta: &SnapshotMeta, offset: u64, content: &'static [u8], length: u64) -> Frame {
    piece_with(term, meta, offset, content, length, crc32c(content))
}

/// As [`piece`], with any checksum.
pub(crate) fn piece_with(
    term: Term,
    meta: &SnapshotMeta,
    offset: u64,
    content: &'static [u8],
    length: u64,
    checksum: u32,
) -> Frame {
    #[derive(serde::Serialize)]
    enum Message {
        Piece { offset: u64, length: u64, checksum: u32 },
    }
    let small = (term, (meta.index, meta.term), Message::Piece { offset, length, checksum });
    let small = codec::encode_small(&small).expect("small");
    Frame::new(ChannelId::SNAPSHOTS, GROUP, small, vec![Bytes::from_static(content)]).expect("few sections")
}

pub(crate) fn received(from: NodeId, frame: Frame) -> GroupInput {
    let from = Sender { node: from, incarnation: Incarnation(u128::from(from.0)) };
    GroupInput::Frame(Received { from, frame })
}

//! A core that keeps notes in its journal, for tests of the log below it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use quorate_protocol::{
    HaltReason, Input, Instant, LoadRange, Loaded, LogIndex, NodeId, Now, Operation, Output, PersistFailure, Protocol,
    RecoverError, Recovery, Signal, StateError, StorageLevel, Ticket, Wire, WireError,
};

/// Keeps a note for each key. Each start of it raises an epoch. It hands out its writes as they come, several at a
/// time, and says nothing of a write before it is durable.
#[derive(Clone)]
pub struct Notebook {
    epoch: u64,
    notes: BTreeMap<u64, Bytes>,
    outputs: VecDeque<Output<Self>>,
    /// Outputs that wait for a write, in the order of the writes.
    held: VecDeque<(Ticket, Output<Self>)>,
    last_ticket: u64,
    /// The time at which it is to ring.
    alarm: Option<Instant>,
    /// The standings and levels that it was told since its start.
    told: Vec<Signal>,
}

/// A command of the notebook.
#[derive(Clone, Debug)]
pub enum NotebookCommand {
    /// Write these notes together, and tell a node of it when they are durable. An empty note erases.
    Write(Vec<(u64, Bytes)>, Option<NodeId>),
    /// Write all notes once more, between the two marks of a checkpoint, except that with this key.
    CheckpointWithout(u64),
    /// Write these operations.
    Operations(Vec<Operation>),
    /// Read notes from the log.
    Load(LoadRange),
    /// Ask the application for a number.
    Ask,
    /// Ring at this time.
    RingAt(Instant),
    /// Panic.
    Panic,
    /// Halt.
    Halt,
}

/// An event of the notebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotebookEvent {
    /// The start is durable: its epoch, and the notes that it found.
    Began(u64, BTreeMap<u64, Bytes>),
    /// A write of this epoch is durable: its first key.
    Written(u64, u64),
    /// A write was not made, nor any after it.
    Failed(PersistFailure),
    /// A load has ended.
    Loaded(Option<Loaded>),
    /// The application has answered.
    Answered(u64),
    /// A peer has told of a write: the peer, the epoch and the key.
    Heard(NodeId, u64, u64),
    /// It rings.
    Rang,
}

/// A message of the notebook: a write of this epoch and key is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotebookMessage(pub u64, pub u64);

impl Wire for NotebookMessage {
    type Small = (u64, u64);

    fn to_parts(&self, _: &mut Vec<Bytes>) -> (u64, u64) {
        (self.0, self.1)
    }

    fn from_parts((epoch, key): (u64, u64), _: Vec<Bytes>) -> Result<Self, WireError> {
        Ok(Self(epoch, key))
    }
}

impl Protocol for Notebook {
    /// True if it cannot be recovered.
    type Config = bool;
    type Message = NotebookMessage;
    type Command = NotebookCommand;
    type Event = NotebookEvent;
    type Request = ();
    type Answer = u64;
    type View = (u64, BTreeMap<u64, Bytes>);

    fn recover(_: Now, fails: bool, recovery: Recovery) -> Result<Self, RecoverError> {
        if fails {
            return Err(RecoverError::Inconsistent("it was asked to fail"));
        }
        let state = recovery.state.map(|state| <[u8; 8]>::try_from(&state[..]));
        let before = state.transpose().map_err(|_| RecoverError::State(StateError::Malformed))?;
        let mut notes = BTreeMap::new();
        for record in recovery.journal.into_iter().flatten() {
            let (key, bytes) = record?;
            notes.insert(key, bytes);
        }
        let epoch = before.map_or(0, u64::from_le_bytes) + 1;
        let (outputs, held) = (VecDeque::new(), VecDeque::new());
        let mut notebook = Self { epoch, notes, outputs, held, last_ticket: 0, alarm: None, told: Vec::new() };
        let state = Bytes::copy_from_slice(&epoch.to_le_bytes());
        let began = NotebookEvent::Began(epoch, notebook.notes.clone());
        notebook
            .persist(vec![Operation::PutState { bytes: state, commit_hint: LogIndex::ZERO }], [Output::Event(began)]);
        Ok(notebook)
    }

    fn handle(&mut self, now: Now, input: Input<Self>) {
        match input {
            Input::Command(command) => self.on_command(command),
            Input::Message { from, message: NotebookMessage(epoch, key) } => {
                self.event(NotebookEvent::Heard(from, epoch, key));
            }
            Input::Completed { answer, .. } => self.event(NotebookEvent::Answered(answer)),
            Input::Signal(Signal::Persisted(ticket)) => {
                while let Some((_, output)) = self.held.pop_front_if(|(held, _)| *held <= ticket) {
                    self.outputs.push_back(output);
                }
            }
            Input::Signal(Signal::PersistFailed { failure, .. }) => {
                self.held.clear();
                self.event(NotebookEvent::Failed(failure));
            }
            Input::Signal(Signal::Loaded { result, .. }) => self.event(NotebookEvent::Loaded(result.ok())),
            Input::Signal(Signal::Timeout) => {
                if self.alarm.take_if(|at| *at <= now.instant).is_some() {
                    self.event(NotebookEvent::Rang);
                }
            }
            Input::Signal(signal) => self.told.push(signal),
        }
    }

    fn poll_output(&mut self) -> Option<Output<Self>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.alarm
    }

    fn model_view(&self) -> Self::View {
        (self.epoch, self.notes.clone())
    }

    fn check_invariants(&self) {}
}

impl Notebook {
    /// The epoch of this start.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The standings and levels that it was told since its start, and other signals.
    pub fn told(&self) -> &[Signal] {
        &self.told
    }

    /// The room on the disk as it was last told.
    pub fn room(&self) -> StorageLevel {
        let mut levels = self.told.iter().rev();
        let level = |signal: &Signal| if let Signal::Storage(level) = signal { Some(*level) } else { None };
        levels.find_map(level).unwrap_or_default()
    }

    fn on_command(&mut self, command: NotebookCommand) {
        match command {
            NotebookCommand::Write(notes, to) => {
                let first = notes.first().map_or(0, |(key, _)| *key);
                let written = Output::Event(NotebookEvent::Written(self.epoch, first));
                let message = NotebookMessage(self.epoch, first);
                let told = to.map(|to| Output::Send { to, message });
                self.notes.extend(notes.iter().cloned());
                self.notes.retain(|_, note| !note.is_empty());
                let operations = notes.into_iter().map(|(key, bytes)| Operation::Journal { key, bytes });
                self.persist(operations.collect(), [written].into_iter().chain(told));
            }
            NotebookCommand::CheckpointWithout(key) => {
                let id = self.last_ticket;
                self.notes.remove(&key);
                let notes =
                    self.notes.iter().map(|(key, bytes)| Operation::Journal { key: *key, bytes: bytes.clone() });
                let mut operations = vec![Operation::CheckpointBegin { id }];
                operations.extend(notes);
                operations.push(Operation::CheckpointDone { id });
                let written = Output::Event(NotebookEvent::Written(self.epoch, key));
                self.persist(operations, [written]);
            }
            NotebookCommand::Operations(operations) => {
                let written = Output::Event(NotebookEvent::Written(self.epoch, 0));
                self.persist(operations, [written]);
            }
            NotebookCommand::Load(range) => {
                let ticket = self.ticket();
                self.outputs.push_back(Output::Load { ticket, range });
            }
            NotebookCommand::Ask => {
                let ticket = self.ticket();
                self.outputs.push_back(Output::Request { ticket, request: () });
            }
            NotebookCommand::RingAt(at) => self.alarm = Some(at),
            NotebookCommand::Panic => panic!("it was asked to"),
            NotebookCommand::Halt => {
                self.outputs.push_back(Output::Halt { reason: HaltReason::LawBroken("it was asked to") });
            }
        }
    }

    fn persist(&mut self, operations: Vec<Operation>, held: impl IntoIterator<Item = Output<Self>>) {
        let ticket = self.ticket();
        self.outputs.push_back(Output::Persist { ticket, operations });
        self.held.extend(held.into_iter().map(|output| (ticket, output)));
    }

    fn event(&mut self, event: NotebookEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }
}

impl fmt::Debug for Notebook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notebook").field("epoch", &self.epoch).field("notes", &self.notes).finish_non_exhaustive()
    }
}

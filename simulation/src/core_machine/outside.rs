//! Inputs from a core's application, and the core's requests to it.

use quorate_protocol::{
    Committed, Entry, EntryKind, Input, LoadRange, LogCommand, LogEvent, LogIndex, LogRequest, Now, Output, Proposal,
    ProposalId, ReadId, ReplicatedLog, SnapshotMeta, Term, crc32c,
};

use super::{CLOCK_NOT_FOLLOWED, CoreDisk, CoreMachine, CoreMessage, ENTRIES_LOADED, OVERWRITTEN, Work};
use crate::registers::{RegisterRequest, Response};
use crate::world::{ClientAnswer, MachineOutput, reached};

impl<P: ReplicatedLog> CoreMachine<P> {
    /// Handles a call of a client: reads of registers use the core's read index, all others go through the log.
    pub(super) fn call(&mut self, now: Now, call: u64, request: RegisterRequest) {
        let number = self.number();
        if let RegisterRequest::Read { key } = request {
            self.reads.insert(ReadId(number), (call, key));
            self.core.handle(now, Input::Command(LogCommand::Read { id: ReadId(number) }));
            return;
        }
        let payload = request.encode();
        let proposal = Proposal {
            id: ProposalId { session: self.session, sequence: number },
            kind: EntryKind::Command,
            acknowledged_below: 0,
            checksum: crc32c(&payload),
            payload,
        };
        self.proposed.insert(number, (call, request));
        self.core.handle(now, Input::Command(LogCommand::Propose(proposal)));
    }

    pub(super) fn carry_out(&mut self, now: Now, disk: &mut CoreDisk, output: Output<P>) {
        match output {
            Output::Send { to, message } => {
                self.outputs.push_back(MachineOutput::Send { to, message: CoreMessage::Core(message) });
            }
            Output::Persist { ticket, operations } => self.ask_disk(Work::Persist { ticket, operations }),
            Output::Load { ticket, range } => self.ask_disk(Work::LoadForCore { ticket, range }),
            Output::Request { ticket, request: LogRequest::SendSnapshot { to, term, snapshot } } => {
                self.send_snapshot(now, disk, ticket, to, term, &snapshot);
            }
            Output::Request { ticket, request: LogRequest::ReceiveSnapshot { from, term, snapshot } } => {
                self.receiving = Some((ticket, from, term, snapshot.index));
                self.receive();
            }
            Output::Event(event) => self.on_event(disk, &event),
            Output::Halt { reason } => self.outputs.push_back(MachineOutput::Halt { reason: reason.to_string() }),
        }
    }

    fn send_snapshot(
        &mut self,
        now: Now,
        disk: &CoreDisk,
        ticket: quorate_protocol::Ticket,
        to: quorate_protocol::NodeId,
        term: Term,
        snapshot: &SnapshotMeta,
    ) {
        match &disk.stream.snapshot {
            _ if disk.trouble.fails_reads => {
                let answer = quorate_protocol::LogAnswer::SnapshotUnreadable { to };
                self.core.handle(now, Input::Completed { ticket, answer });
            }
            Some(meta) if meta.index == snapshot.index => {
                let registers = Box::new(disk.registers.clone());
                let message = CoreMessage::Snapshot { term, meta: meta.clone(), registers };
                self.outputs.push_back(MachineOutput::Send { to, message });
                let until = now.instant.after(SNAPSHOT_TIMEOUT);
                self.sending.insert(to, (ticket, snapshot.index, until));
            }
            _ => {
                let answer = quorate_protocol::LogAnswer::SnapshotSendFailed { to };
                self.core.handle(now, Input::Completed { ticket, answer });
            }
        }
    }

    fn on_event(&mut self, disk: &CoreDisk, event: &LogEvent) {
        match event {
            LogEvent::Appended { id, index, term } => {
                if let Some((call, _)) = self.proposed.remove(&id.sequence) {
                    self.appended.insert(*index, (*term, call));
                }
            }
            LogEvent::Refused { id, .. } => {
                if let Some((call, _)) = self.proposed.remove(&id.sequence) {
                    self.answer(call, ClientAnswer::NotDone);
                }
            }
            LogEvent::ReadReady { id, index } => {
                if let Some(read) = self.reads.remove(id) {
                    self.ready.entry(*index).or_default().push(read);
                    self.answer_reads();
                }
            }
            LogEvent::ReadFailed { id, .. } => {
                if let Some((call, _)) = self.reads.remove(id) {
                    self.answer(call, ClientAnswer::NotDone);
                }
            }
            LogEvent::Installed { .. } => {
                self.outputs.push_back(MachineOutput::Sometimes(reached::SNAPSHOT_INSTALLED));
                self.restore(disk);
                self.answer_reads();
            }
            LogEvent::Role { role, term, .. } => {
                let leads = *role == quorate_protocol::Role::Leader;
                if leads && !self.told.is_leader {
                    self.outputs.push_back(MachineOutput::Sometimes(reached::LEADER_ELECTED));
                }
                self.told.is_leader = leads;
                self.told.term = term.0;
            }
            LogEvent::Committed { index } => self.told.committed = index.0,
            LogEvent::ClockDiffers { .. } => {
                self.outputs.push_back(MachineOutput::Sometimes(CLOCK_NOT_FOLLOWED));
            }
            LogEvent::AcknowledgedLost { node } => {
                self.accused.insert(*node);
            }
            LogEvent::Voting { .. } | LogEvent::Configuration { .. } => {}
        }
    }

    /// Takes the state of the newest snapshot, if it is newer than the applied state.
    pub(super) fn restore(&mut self, disk: &CoreDisk) {
        let Some(meta) = &disk.stream.snapshot else { return };
        if meta.index <= self.applied.0 {
            return;
        }
        self.registers = disk.registers.clone();
        self.applied = (meta.index, meta.term);
        self.log_time = meta.log_time;
        // A proposal of this node that the snapshot covers may or may not have been applied.
        let later = self.appended.split_off(&meta.index.next());
        for (_, call) in std::mem::replace(&mut self.appended, later).into_values() {
            self.answer(call, ClientAnswer::Unknown);
        }
    }

    /// Applies committed entries, and makes a snapshot at times.
    pub(super) fn pull(&mut self, disk: &CoreDisk) {
        while !self.is_loading {
            match self.core.entries(self.applied.0.next(), PULL_BYTES_MAX) {
                Committed::Cached(entries) if entries.is_empty() => break,
                Committed::Cached(entries) => self.apply(entries),
                Committed::NeedsLoad(range) => {
                    self.is_loading = true;
                    self.outputs.push_back(MachineOutput::Sometimes(ENTRIES_LOADED));
                    self.ask_disk(Work::LoadToApply { range: LoadRange::Entries { range, bytes_max: PULL_BYTES_MAX } });
                }
            }
        }
        let newest = disk.stream.snapshot.as_ref().map_or(LogIndex::ZERO, |meta| meta.index);
        if !self.is_building && self.applied.0.0 >= newest.0 + self.snapshot_every {
            self.is_building = true;
            let meta = SnapshotMeta {
                index: self.applied.0,
                term: self.applied.1,
                log_time: self.log_time,
                configuration: self.core.status().configuration,
            };
            self.ask_disk(Work::Build { meta, registers: Box::new(self.registers.clone()) });
        }
    }

    pub(super) fn apply(&mut self, entries: Vec<(LogIndex, Term, Entry)>) {
        for (index, term, entry) in entries {
            // A load may return entries that a snapshot covered meanwhile.
            if index <= self.applied.0 {
                continue;
            }
            assert_eq!(index, self.applied.0.next(), "node {} applies without a gap", self.node);
            if entry.header.log_time < self.log_time {
                self.log_time_fell_at.get_or_insert(index);
            }
            let answer = (entry.header.kind == EntryKind::Command).then(|| {
                assert_eq!(crc32c(&entry.payload), entry.header.checksum, "what was proposed is applied");
                let request = RegisterRequest::decode(&entry.payload).expect("what was proposed is applied");
                self.registers.apply(&request)
            });
            self.applied = (index, term);
            self.log_time = entry.header.log_time;
            match (self.appended.remove(&index), answer) {
                (Some((of_term, call)), Some(answer)) if of_term == term => self.answer(call, answer),
                // Another entry took its place, so that the proposal will never be applied.
                (Some((_, call)), _) => {
                    self.outputs.push_back(MachineOutput::Sometimes(OVERWRITTEN));
                    self.answer(call, ClientAnswer::NotDone);
                }
                (None, _) => {}
            }
        }
        self.answer_reads();
    }

    fn answer_reads(&mut self) {
        let later = self.ready.split_off(&self.applied.0.next());
        for (call, key) in std::mem::replace(&mut self.ready, later).into_values().flatten() {
            let value = self.registers.register(key);
            self.answer(call, ClientAnswer::Done(Response { value, ..Response::default() }));
        }
    }
}

const PULL_BYTES_MAX: usize = 4096;
const SNAPSHOT_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(400);

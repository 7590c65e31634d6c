//! A decision as a group of a node, which answers its callers.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use quorate_protocol::{GroupId, HaltReason, Instant, Now, ProposalId, ReadId, SessionId};
use quorate_runtime::group::{CallId, ChannelId, Group, GroupInput, GroupOutput, Reply};
use quorate_runtime::hosted::{Hosted, Told};

use super::super::{Command, CommandRefusal, Event, Proposal, ProposalOutcome, ReadOutcome, Synod};
use super::CHANNEL;

/// A [`Synod`] on a node: it gives the core the commands of its callers, and each caller its answer.
///
/// [`SynodHandle`](super::SynodHandle) is made for it. A call is answered by [`Reply::Told`], and its answer is then
/// taken from here. [`Reply::Unknown`] means that the group stopped before.
pub struct Decision {
    hosted: Hosted<Synod>,
    /// The session of this start of the node, in which ids are drawn.
    session: SessionId,
    drawn: u64,
    reads: u64,
    /// The calls that wait for a proposal, by its id and checksum. The core answers each of them, in this order.
    proposing: BTreeMap<(ProposalId, u32), VecDeque<CallId>>,
    reading: BTreeMap<ReadId, CallId>,
    /// The calls that wait for the decision, the oldest first. At most [`WAITING_MAX`].
    waiting: VecDeque<CallId>,
    chosen: Option<Proposal>,
    /// Answers that their callers have not taken yet.
    answers: BTreeMap<CallId, Answer>,
    outputs: VecDeque<GroupOutput>,
    is_stopping: bool,
    is_halted: bool,
}

/// The answer to a call.
#[derive(Debug)]
enum Answer {
    Proposed(ProposalOutcome),
    Read(ReadOutcome),
    Decided(Result<Proposal, CommandRefusal>),
}

impl Decision {
    /// Makes the group. Ids are drawn in `session`, which no other start of any node has.
    pub(super) fn new(id: GroupId, session: SessionId, core: Synod) -> Self {
        Self {
            hosted: Hosted::new(id, CHANNEL, core),
            session,
            drawn: 0,
            reads: 0,
            proposing: BTreeMap::new(),
            reading: BTreeMap::new(),
            waiting: VecDeque::new(),
            chosen: None,
            answers: BTreeMap::new(),
            outputs: VecDeque::new(),
            is_stopping: false,
            is_halted: false,
        }
    }

    /// The core, for inspection.
    pub fn core(&self) -> Option<&Synod> {
        self.hosted.core()
    }

    /// Draws an id that no other proposal has.
    pub fn draw_id(&mut self) -> ProposalId {
        self.drawn += 1;
        ProposalId { session: self.session, sequence: self.drawn }
    }

    /// Proposes a value under an id of its own. [`take_outcome`](Self::take_outcome) has the answer.
    pub fn propose(&mut self, now: Now, call: CallId, value: Bytes) {
        let proposal = Proposal::new(self.draw_id(), value);
        self.propose_again(now, call, proposal);
    }

    /// Makes a proposal that may have been made before, here or anywhere else, under the same id.
    /// [`take_outcome`](Self::take_outcome) has the answer.
    pub fn propose_again(&mut self, now: Now, call: CallId, proposal: Proposal) {
        if self.is_stopping {
            return self.answer(call, Answer::Proposed(ProposalOutcome::NotTried(CommandRefusal::ShuttingDown)));
        }
        self.proposing.entry((proposal.id, proposal.checksum)).or_default().push_back(call);
        self.command(now, Command::Propose(proposal));
    }

    /// Asks for the chosen value. [`take_read`](Self::take_read) has the answer.
    pub fn read(&mut self, now: Now, call: CallId) {
        if self.is_stopping {
            return self.answer(call, Answer::Read(ReadOutcome::Failed(CommandRefusal::ShuttingDown)));
        }
        self.reads += 1;
        let id = ReadId(self.reads);
        self.reading.insert(id, call);
        self.command(now, Command::Read { id });
    }

    /// Waits until the chosen value is known and durable here. [`take_decided`](Self::take_decided) has the answer.
    /// Above [`WAITING_MAX`] the call that has waited longest is refused.
    pub fn wait(&mut self, call: CallId) {
        if let Some(chosen) = &self.chosen {
            return self.answer(call, Answer::Decided(Ok(chosen.clone())));
        }
        if self.is_stopping {
            return self.answer(call, Answer::Decided(Err(CommandRefusal::ShuttingDown)));
        }
        if self.is_halted {
            return self.answer(call, Answer::Decided(Err(CommandRefusal::Halted)));
        }
        self.waiting.push_back(call);
        if self.waiting.len() > WAITING_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.answer(oldest, Answer::Decided(Err(CommandRefusal::Overloaded)));
        }
    }

    /// The outcome of a proposal that was answered.
    pub fn take_outcome(&mut self, call: CallId) -> ProposalOutcome {
        match self.answers.remove(&call) {
            Some(Answer::Proposed(outcome)) => outcome,
            _ => ProposalOutcome::Unknown,
        }
    }

    /// The answer to a read that was answered.
    pub fn take_read(&mut self, call: CallId) -> ReadOutcome {
        match self.answers.remove(&call) {
            Some(Answer::Read(outcome)) => outcome,
            _ => ReadOutcome::Failed(CommandRefusal::Halted),
        }
    }

    /// The chosen proposal, for a call that waited for it and was answered.
    ///
    /// # Errors
    /// When the group has halted or is shutting down, or too many calls wait.
    pub fn take_decided(&mut self, call: CallId) -> Result<Proposal, CommandRefusal> {
        match self.answers.remove(&call) {
            Some(Answer::Decided(decided)) => decided,
            _ => Err(CommandRefusal::Halted),
        }
    }

    fn command(&mut self, now: Now, command: Command) {
        // A group on the node's own log always serves its core.
        if self.hosted.command(now, command).is_err() {
            self.lose_callers();
        }
    }

    fn answer(&mut self, call: CallId, answer: Answer) {
        self.answers.insert(call, answer);
        self.outputs.push_back(GroupOutput::Reply { call, reply: Reply::Told });
    }

    fn on_told(&mut self, told: Told<Synod>) {
        match told {
            Told::Event(Event::Chosen(proposal)) => {
                for call in std::mem::take(&mut self.waiting) {
                    self.answer(call, Answer::Decided(Ok(proposal.clone())));
                }
                self.chosen = Some(proposal);
            }
            Told::Event(Event::Proposed { id, checksum, outcome }) => {
                let Some(calls) = self.proposing.get_mut(&(id, checksum)) else { return };
                let first = calls.pop_front();
                if calls.is_empty() {
                    self.proposing.remove(&(id, checksum));
                }
                if let Some(call) = first {
                    self.answer(call, Answer::Proposed(outcome));
                }
            }
            Told::Event(Event::Read { id, outcome }) => {
                if let Some(call) = self.reading.remove(&id) {
                    self.answer(call, Answer::Read(outcome));
                }
            }
            Told::Request { request, .. } => match request {},
            // Events are taken after each output, and the group is on the node's own log.
            Told::Lost(_) | Told::Serving | Told::NotServing { .. } => {}
        }
    }

    /// The group has stopped: nobody learns what will become of the calls.
    fn lose_callers(&mut self) {
        self.is_halted = true;
        let proposing = std::mem::take(&mut self.proposing).into_values().flatten();
        let calls = proposing.chain(std::mem::take(&mut self.reading).into_values());
        let calls = calls.chain(std::mem::take(&mut self.waiting));
        self.outputs.extend(calls.map(|call| GroupOutput::Reply { call, reply: Reply::Unknown }));
    }
}

impl Group for Decision {
    fn handle(&mut self, now: Now, input: GroupInput) {
        if let GroupInput::Shutdown { .. } = input {
            self.is_stopping = true;
            for call in std::mem::take(&mut self.waiting) {
                self.answer(call, Answer::Decided(Err(CommandRefusal::ShuttingDown)));
            }
        }
        self.hosted.handle(now, input);
    }

    fn poll_output(&mut self) -> Option<GroupOutput> {
        let output = self.hosted.poll_output();
        for told in self.hosted.take() {
            self.on_told(told);
        }
        if let Some(GroupOutput::Halt { .. }) = output {
            self.lose_callers();
        }
        self.outputs.extend(output);
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.hosted.deadline()
    }

    fn halted(&mut self, reason: &HaltReason) {
        self.outputs.retain(|output| matches!(output, GroupOutput::Reply { .. }));
        self.hosted.halted(reason);
        self.lose_callers();
    }

    fn channel(&self) -> ChannelId {
        CHANNEL
    }

    /// Proposals and reads end within `command_timeout`.
    fn is_settled(&self) -> bool {
        self.proposing.is_empty() && self.reading.is_empty() && self.answers.is_empty()
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision").field("hosted", &self.hosted).finish_non_exhaustive()
    }
}

/// Largest number of calls that wait for the decision. A call whose future was dropped counts until it is answered.
pub const WAITING_MAX: usize = 4096;

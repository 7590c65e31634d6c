//! A decision on a node answers its callers, whatever happens.

use std::any::Any;
use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::runtime::GroupStart;
use quorate_paxos::runtime::group::{CallId, Group, GroupInput, GroupOutput, Reply};
use quorate_paxos::synod::{CommandRefusal, Decision, ProposalOutcome, ReadOutcome, Settings, WAITING_MAX, host};
use quorate_protocol::testing::Stream;
use quorate_protocol::{HaltReason, Instant, NodeId, Now, PersistFailure, SessionId, Signal, Standing, Ticket};

use crate::founding::start;

/// The decision of a node, with its disk and its callers.
struct Desk {
    decision: Box<Decision>,
    now: Now,
    calls: u64,
    disk: Stream,
    replies: Vec<(CallId, Reply)>,
    /// Writes that the disk has not answered yet.
    writes: Vec<Ticket>,
    sent: usize,
    is_disk_slow: bool,
}

impl Desk {
    /// Node 1 of so many.
    fn new(nodes: u64, settings: Settings) -> Self {
        Self::of(start(1, nodes, &Stream::default()), settings)
    }

    fn of(start: GroupStart, settings: Settings) -> Self {
        let nodes = start.members.nodes().count() as u64;
        let group: Box<dyn Any> = host(start, settings).expect("it opens");
        let mut desk = Self {
            decision: group.downcast().expect("a decision"),
            now: Now::default(),
            calls: 0,
            disk: Stream::default(),
            replies: Vec::new(),
            writes: Vec::new(),
            sent: 0,
            is_disk_slow: false,
        };
        for node in (1..=nodes).map(NodeId) {
            desk.signal(Signal::PeerStanding { node, standing: Standing::Member });
        }
        desk
    }

    fn call(&mut self, f: impl FnOnce(&mut Decision, Now, CallId)) -> CallId {
        self.calls += 1;
        f(&mut self.decision, self.now, CallId(self.calls));
        self.carry_out();
        CallId(self.calls)
    }

    fn propose(&mut self, value: &'static [u8]) -> CallId {
        self.call(|decision, now, call| decision.propose(now, call, Bytes::from_static(value)))
    }

    fn read(&mut self) -> CallId {
        self.call(Decision::read)
    }

    fn wait(&mut self) -> CallId {
        self.call(|decision, _, call| decision.wait(call))
    }

    fn signal(&mut self, signal: Signal) {
        self.input(GroupInput::Signal(signal));
    }

    fn input(&mut self, input: GroupInput) {
        self.decision.handle(self.now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.decision.poll_output() {
            match output {
                GroupOutput::Persist { ticket, operations } => {
                    self.disk.write(&operations);
                    self.writes.push(ticket);
                    if !self.is_disk_slow {
                        self.sync();
                    }
                }
                GroupOutput::Reply { call, reply } => self.replies.push((call, reply)),
                GroupOutput::Send { .. } => self.sent += 1,
                _ => {}
            }
        }
    }

    fn sync(&mut self) {
        for ticket in std::mem::take(&mut self.writes) {
            self.decision.handle(self.now, GroupInput::Signal(Signal::Persisted(ticket)));
        }
    }

    /// Lets the time pass until then, from deadline to deadline.
    fn pass(&mut self, until: Duration) {
        let until = Instant::ZERO.after(until);
        while let Some(deadline) = self.decision.deadline().filter(|deadline| *deadline <= until) {
            self.now.instant = deadline;
            self.signal(Signal::Timeout);
        }
        self.now.instant = until;
    }

    /// The reply to this call, once.
    fn reply(&mut self, call: CallId) -> Option<Reply> {
        let at = self.replies.iter().position(|(replied, _)| *replied == call)?;
        Some(self.replies.remove(at).1)
    }

    fn outcome(&mut self, call: CallId) -> ProposalOutcome {
        assert_eq!(self.reply(call), Some(Reply::Told));
        self.decision.take_outcome(call)
    }

    fn reading(&mut self, call: CallId) -> ReadOutcome {
        assert_eq!(self.reply(call), Some(Reply::Told));
        self.decision.take_read(call)
    }

    fn shut_down(&mut self) {
        self.input(GroupInput::Shutdown { deadline: Instant::ZERO.after(Duration::from_mins(1)) });
    }
}

/// Two callers that propose the same bytes do not both win.
#[test]
fn ids_are_drawn_so_that_one_caller_wins() {
    let mut desk = Desk::new(1, Settings::default());
    let early = desk.read();
    assert_eq!(desk.reading(early), ReadOutcome::NoneYet);
    let waits = desk.wait();
    assert_eq!(desk.reply(waits), None, "nothing is decided");
    let (one, two) = (desk.propose(b"same"), desk.propose(b"same"));
    assert_eq!(desk.outcome(one), ProposalOutcome::Chosen);
    let ProposalOutcome::Superseded { chosen } = desk.outcome(two) else { panic!("only one is chosen") };
    assert_eq!(chosen.value, "same");
    assert_eq!(desk.reply(waits), Some(Reply::Told));
    assert_eq!(desk.decision.take_decided(waits), Ok(chosen.clone()));
    let (late, waits) = (desk.read(), desk.wait());
    assert_eq!(desk.reading(late), ReadOutcome::Chosen(chosen.clone()));
    assert_eq!(desk.reply(waits), Some(Reply::Told));
    assert_eq!(desk.decision.take_decided(waits), Ok(chosen));
    desk.pass(Duration::from_hours(2));
    assert_eq!((desk.sent, desk.decision.deadline()), (0, None), "a decided group is silent");
}

/// A proposal that is made again is the same proposal, and each caller gets the answer.
#[test]
fn who_proposes_again_learns_the_outcome_of_the_one_proposal() {
    let mut desk = Desk::new(1, Settings::default());
    let id = desk.decision.draw_id();
    let proposal = quorate_paxos::synod::Proposal::new(id, Bytes::from_static(b"mine"));
    desk.is_disk_slow = true;
    let again = |desk: &mut Desk| {
        let proposal = proposal.clone();
        desk.call(|decision, now, call| decision.propose_again(now, call, proposal))
    };
    let (one, two) = (again(&mut desk), again(&mut desk));
    assert!(desk.replies.is_empty(), "nothing is durable");
    desk.is_disk_slow = false;
    desk.sync();
    desk.carry_out();
    assert_eq!((desk.outcome(one), desk.outcome(two)), (ProposalOutcome::Chosen, ProposalOutcome::Chosen));
    let three = again(&mut desk);
    assert_eq!(desk.outcome(three), ProposalOutcome::Chosen);

    let later = SessionId { start: 2, ..SessionId::default() };
    let mut restarted = Desk::of(GroupStart { session: later, ..start(1, 1, &desk.disk) }, Settings::default());
    assert_ne!(restarted.decision.draw_id(), id, "each start draws others");
    let four = again(&mut restarted);
    assert_eq!(restarted.outcome(four), ProposalOutcome::Chosen, "a restart has not forgotten");
    let waits = restarted.wait();
    assert_eq!(restarted.reply(waits), Some(Reply::Told));
    assert_eq!(restarted.decision.take_decided(waits), Ok(proposal.clone()));
}

/// The calls that are refused were not made.
#[test]
fn overload_is_told() {
    let settings = Settings { commands_max: 1, value_bytes_max: 8, ..Settings::default() };
    let mut desk = Desk::new(3, settings);
    let (_, two, long) = (desk.propose(b"one"), desk.propose(b"two"), desk.propose(b"far too long"));
    assert_eq!(desk.outcome(two), ProposalOutcome::NotTried(CommandRefusal::Overloaded));
    assert_eq!(desk.outcome(long), ProposalOutcome::NotTried(CommandRefusal::TooLarge));
    let (_, two) = (desk.read(), desk.read());
    assert_eq!(desk.reading(two), ReadOutcome::Failed(CommandRefusal::Overloaded));
    let first = desk.wait();
    let second = desk.wait();
    for _ in 2..WAITING_MAX {
        desk.wait();
    }
    assert_eq!(desk.reply(first), None);
    desk.wait();
    assert_eq!(desk.reply(first), Some(Reply::Told), "who waited longest makes room");
    assert_eq!(desk.decision.take_decided(first), Err(CommandRefusal::Overloaded));
    assert_eq!(desk.reply(second), None);
}

/// Without a quorum, calls end at their deadline. Those who wait for the decision go on.
#[test]
fn calls_end_at_their_deadline() {
    let mut desk = Desk::new(3, Settings::default());
    let (proposal, read, waits) = (desk.propose(b"one"), desk.read(), desk.wait());
    desk.pass(Duration::from_millis(4_999));
    assert!(desk.replies.is_empty());
    desk.pass(Duration::from_secs(5));
    assert_eq!(desk.outcome(proposal), ProposalOutcome::NotTried(CommandRefusal::TimedOut));
    assert_eq!(desk.reading(read), ReadOutcome::Failed(CommandRefusal::TimedOut));
    desk.pass(Duration::from_hours(1));
    assert_eq!(desk.reply(waits), None);
    assert!(desk.decision.is_settled());
}

/// What was asked before a shutdown is answered, and nothing else is begun.
#[test]
fn a_shutdown_answers_what_was_asked() {
    let mut desk = Desk::new(1, Settings::default());
    desk.is_disk_slow = true;
    let (proposal, waits) = (desk.propose(b"one"), desk.wait());
    desk.shut_down();
    assert_eq!(desk.reply(waits), Some(Reply::Told), "it could wait for ever");
    assert_eq!(desk.decision.take_decided(waits), Err(CommandRefusal::ShuttingDown));
    assert!(!desk.decision.is_settled(), "a proposal is under way");
    let (late, read, waits) = (desk.propose(b"two"), desk.read(), desk.wait());
    assert_eq!(desk.outcome(late), ProposalOutcome::NotTried(CommandRefusal::ShuttingDown));
    assert_eq!(desk.reading(read), ReadOutcome::Failed(CommandRefusal::ShuttingDown));
    assert_eq!(desk.reply(waits), Some(Reply::Told));
    assert_eq!(desk.decision.take_decided(waits), Err(CommandRefusal::ShuttingDown));
    desk.is_disk_slow = false;
    desk.sync();
    desk.carry_out();
    assert_eq!(desk.outcome(proposal), ProposalOutcome::Chosen);
    assert!(desk.decision.is_settled());
    let waits = desk.wait();
    assert_eq!(desk.reply(waits), Some(Reply::Told), "what is known is told even now");
    assert_eq!(desk.decision.take_decided(waits).expect("it is decided").value, "one");
}

/// A group that halts leaves no caller without an answer, and claims nothing.
#[test]
fn a_halted_group_answers_unknown() {
    let mut desk = Desk::new(1, Settings::default());
    desk.is_disk_slow = true;
    let (proposal, read, waits) = (desk.propose(b"one"), desk.read(), desk.wait());
    let early = desk.reply(read);
    assert_eq!(early, Some(Reply::Told), "it had accepted nothing");
    let ticket = desk.writes[0];
    desk.signal(Signal::PersistFailed { ticket, failure: PersistFailure::Unknown });
    for call in [proposal, waits] {
        assert_eq!(desk.reply(call), Some(Reply::Unknown));
    }
    let (late, read, waits) = (desk.propose(b"two"), desk.read(), desk.wait());
    assert_eq!(desk.outcome(late), ProposalOutcome::NotTried(CommandRefusal::Halted));
    assert_eq!(desk.reading(read), ReadOutcome::Failed(CommandRefusal::Halted));
    assert_eq!(desk.reply(waits), Some(Reply::Told));
    assert_eq!(desk.decision.take_decided(waits), Err(CommandRefusal::Halted));

    let mut desk = Desk::new(3, Settings::default());
    let calls = [desk.propose(b"one"), desk.read(), desk.wait()];
    desk.decision.halted(&HaltReason::Panicked("for this test".to_owned()));
    desk.carry_out();
    for call in calls {
        assert_eq!(desk.reply(call), Some(Reply::Unknown), "after a panic too");
    }
}

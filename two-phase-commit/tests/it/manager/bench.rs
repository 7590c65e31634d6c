//! A manager's core without threads: the test carries out every write, request and answer, one step at a time, and can
//! crash the manager or a resource before each.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quorate_protocol::testing::Stream;
use quorate_protocol::{
    ClusterId, HaltReason, Input, NodeId, Now, Operation, Output, Protocol, Signal, Standing, Ticket,
};
use quorate_two_phase_commit::manager::core::{
    Ended, ManagerAnswer, ManagerCommand, ManagerConfig, ManagerCore, ManagerEvent, ManagerRequest,
};
use quorate_two_phase_commit::manager::memory::Memory;
use quorate_two_phase_commit::manager::{
    BranchId, ManagerId, ManagerSettings, ResourceId, ResourceManager, RollBackEnd, Sessions,
};
use quorate_two_phase_commit::{CommandId, Knowledge, TransactionNumber, Vote};

pub(crate) const MANAGER: ManagerId = ManagerId { cluster: ClusterId(7), log: 7 };
const NODE: NodeId = NodeId(1);

/// What a resource does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// The first call to prepare never returns, and has prepared the branch.
    HangsInPrepare,
    /// Loses prepared branches when it is asked to commit.
    LosesPrepared,
    /// Somebody rolls prepared branches back before it is asked to commit.
    IsResolvedByHand,
    /// Never answers.
    Dead,
    /// Gives every answer twice.
    AnswersTwice,
    /// Fails this many times to roll back.
    FailsToRollBack(u32),
    /// Says no to every prepare, and has rolled the branch back.
    Refuses,
    /// Somebody commits prepared branches before it is asked to roll back.
    IsCommittedByHand,
    /// Answers requests to commit with failures.
    FailsToCommit,
}

/// What the application does in a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Write,
    Read,
}

#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) memory: Memory<u64>,
    pub(crate) fault: Fault,
    pub(crate) work: Work,
}

/// The part that crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The manager, and a write that is under way is lost.
    ManagerWithoutWrite,
    /// The manager, and a write that is under way is on disk.
    ManagerWithWrite,
    /// The manager, and the requests that it had made are carried out only after its next start.
    ManagerWithLateRequests,
    Resource(ResourceId),
}

/// The next thing that happens.
#[derive(Debug)]
enum Step {
    Write,
    Request,
    Answer,
}

pub(crate) struct Bench {
    pub(crate) core: ManagerCore,
    config: ManagerConfig,
    pub(crate) disk: Stream,
    pub(crate) now: Now,
    pub(crate) sites: BTreeMap<ResourceId, Site>,
    pub(crate) writes: VecDeque<(Ticket, Vec<Operation>)>,
    pub(crate) requests: VecDeque<(Ticket, ManagerRequest)>,
    pub(crate) answers: VecDeque<(Ticket, ManagerAnswer)>,
    pub(crate) events: Vec<ManagerEvent>,
    /// Every request that was made, for counts.
    pub(crate) made: Vec<ManagerRequest>,
    pub(crate) forced: usize,
    pub(crate) halted: Option<HaltReason>,
    /// Branches in which the application has a session.
    sessions: Vec<BranchId>,
    /// Requests of an earlier start that are still on their way.
    late: Vec<ManagerRequest>,
    /// Transactions that the application has begun, and its knowledge of their outcomes.
    pub(crate) begun: Vec<TransactionNumber>,
    pub(crate) told: BTreeMap<TransactionNumber, Ended>,
    commands: u64,
    starts: u64,
}

pub(crate) fn id(number: usize) -> ResourceId {
    ResourceId::of_name(&format!("resource {number}"))
}

impl Bench {
    pub(crate) fn new(works: &[Work]) -> Self {
        Self::with(works, settings())
    }

    pub(crate) fn with(works: &[Work], settings: ManagerSettings) -> Self {
        let site = |work: &Work| Site { memory: Memory::new(), fault: Fault::None, work: *work };
        let sites: BTreeMap<ResourceId, Site> =
            works.iter().enumerate().map(|(number, work)| (id(number), site(work))).collect();
        let names = works.iter().enumerate().map(|(number, _)| (id(number), format!("resource {number}"))).collect();
        let config = ManagerConfig::new(MANAGER, NODE, 1, names, settings).expect("usable settings");
        let (disk, now) = (Stream::default(), Now::default());
        let core = ManagerCore::recover(now, config.clone(), disk.recovery(usize::MAX)).expect("an empty disk");
        let mut bench = Self {
            core,
            config,
            disk,
            now,
            sites,
            writes: VecDeque::new(),
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            events: Vec::new(),
            made: Vec::new(),
            forced: 0,
            halted: None,
            sessions: Vec::new(),
            late: Vec::new(),
            begun: Vec::new(),
            told: BTreeMap::new(),
            commands: 0,
            starts: 1,
        };
        bench.introduce();
        bench
    }

    pub(crate) fn fault(&mut self, number: usize, fault: Fault) {
        self.sites.get_mut(&id(number)).expect("a resource").fault = fault;
    }

    pub(crate) fn memory(&self, number: usize) -> &Memory<u64> {
        &self.sites[&id(number)].memory
    }

    pub(crate) fn input(&mut self, input: Input<ManagerCore>) {
        self.core.handle(self.now, input);
        self.poll();
    }

    pub(crate) fn command(&mut self, command: ManagerCommand) {
        self.input(Input::Command(command));
    }

    pub(crate) fn begin(&mut self) -> CommandId {
        self.begin_within(Duration::from_secs(30))
    }

    pub(crate) fn begin_within(&mut self, timeout: Duration) -> CommandId {
        self.commands += 1;
        let command = CommandId(self.commands);
        self.command(ManagerCommand::Begin { command, timeout: Some(timeout) });
        command
    }

    /// Does the work of a transaction in every resource.
    pub(crate) fn work(&mut self, transaction: TransactionNumber) {
        let sites: Vec<(ResourceId, Site)> = self.sites.iter().map(|(id, site)| (*id, site.clone())).collect();
        for (resource, site) in sites {
            self.command(ManagerCommand::Enlist { transaction, resource });
            let branch = BranchId { manager: MANAGER, number: transaction, resource };
            let session = ready(site.memory.begin(branch)).expect("a session");
            // It fails if the resource has crashed, and then it votes no.
            let _ = match site.work {
                Work::Write => session.put("value", transaction.sequence + 100 * transaction.epoch.0),
                Work::Read => session.get("value").map(|_| ()),
            };
            site.memory.suspend(branch, session);
            self.sessions.push(branch);
        }
    }

    /// Asks to commit, with nothing said of votes.
    pub(crate) fn commit(&mut self, transaction: TransactionNumber) {
        self.command(ManagerCommand::Commit { transaction, votes: BTreeMap::new() });
    }

    /// Asks to commit, with the votes of these resources, which prepare first.
    pub(crate) fn commit_with_votes(&mut self, transaction: TransactionNumber, of: &[ResourceId]) {
        let mut votes = BTreeMap::new();
        for resource in self.sites.keys() {
            let branch = BranchId { manager: MANAGER, number: transaction, resource: *resource };
            let prepare = || ready(self.sites[resource].memory.prepare(branch)).expect("in memory");
            votes.insert(*resource, of.contains(resource).then(prepare));
        }
        self.command(ManagerCommand::Commit { transaction, votes });
    }

    /// Takes the outputs of the core. The application begins to work as soon as its transaction has begun.
    pub(crate) fn poll(&mut self) {
        let mut begun = Vec::new();
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Persist { ticket, operations } => self.writes.push_back((ticket, operations)),
                Output::Request { ticket, request } => {
                    self.made.push(request.clone());
                    self.requests.push_back((ticket, request));
                }
                Output::Event(event) => {
                    match &event {
                        ManagerEvent::Begun { transaction, .. } => begun.push(*transaction),
                        ManagerEvent::Ended { transaction, outcome } => {
                            let before = self.told.insert(*transaction, outcome.clone());
                            // A later start may tell it again.
                            assert!(before.is_none_or(|before| before == *outcome), "an outcome never changes");
                        }
                        _ => {}
                    }
                    self.events.push(event);
                }
                Output::Halt { reason } => self.halted = Some(reason),
                Output::Send { .. } | Output::Load { .. } => panic!("a manager speaks to no node, and loads nothing"),
            }
        }
        self.core.check_invariants();
        self.begun.extend(begun);
    }

    fn next(&self) -> Option<Step> {
        if !self.writes.is_empty() {
            return Some(Step::Write);
        }
        if !self.requests.is_empty() {
            return Some(Step::Request);
        }
        (!self.answers.is_empty()).then_some(Step::Answer)
    }

    /// Takes the next step; false if there is none but to wait.
    pub(crate) fn step(&mut self) -> bool {
        match self.next() {
            Some(Step::Write) => self.write(),
            Some(Step::Request) => {
                let (ticket, request) = self.requests.pop_front().expect("just seen");
                self.carry_out(ticket, &request);
            }
            Some(Step::Answer) => {
                let (ticket, answer) = self.answers.pop_front().expect("just seen");
                self.input(Input::Completed { ticket, answer });
            }
            None => return false,
        }
        true
    }

    /// The oldest write is durable.
    pub(crate) fn write(&mut self) {
        let (ticket, operations) = self.writes.pop_front().expect("a write");
        self.forced += 1;
        self.disk.write(&operations);
        self.input(Input::Signal(Signal::Persisted(ticket)));
    }

    /// Steps until there is nothing but to wait.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.step() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Requests of an earlier start arrive. Returns true if there were any.
    pub(crate) fn arrive(&mut self) -> bool {
        let late = std::mem::take(&mut self.late);
        for request in &late {
            answer(&self.sites[&request.resource()].memory, request);
        }
        !late.is_empty()
    }

    /// The clock moves to the next deadline.
    pub(crate) fn wait(&mut self) {
        let Some(deadline) = self.core.deadline() else { return };
        self.now.instant = self.now.instant.max(deadline);
        self.input(Input::Signal(Signal::Timeout));
    }

    /// Waits and settles until this time has passed.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.instant.after(time);
        self.settle();
        while self.core.deadline().is_some_and(|deadline| deadline <= end) {
            self.wait();
            self.settle();
        }
        self.now.instant = end;
    }

    /// Carries out a request as its resource does.
    fn carry_out(&mut self, ticket: Ticket, request: &ManagerRequest) {
        let site = self.sites.get_mut(&request.resource()).expect("only resources are asked");
        let memory = &site.memory;
        let fails = |why: &str| ManagerAnswer::Failed(why.to_owned());
        let answer = match (request, site.fault) {
            (_, Fault::Dead) => return,
            (ManagerRequest::Prepare(branch), Fault::HangsInPrepare) => {
                site.fault = Fault::None;
                ready(memory.prepare(*branch)).expect("in memory");
                return;
            }
            (ManagerRequest::Prepare(branch), Fault::Refuses) => {
                ready(memory.roll_back(*branch)).expect("in memory");
                ManagerAnswer::Voted(Vote::No)
            }
            (ManagerRequest::Commit(branch), Fault::LosesPrepared) => {
                if !memory.evidence().contains(branch) {
                    ready(memory.roll_back(*branch)).expect("in memory");
                }
                ManagerAnswer::Committed(ready(memory.commit(*branch)).expect("in memory"))
            }
            (ManagerRequest::Commit(branch), Fault::IsResolvedByHand) => {
                ready(memory.roll_back(*branch)).expect("in memory");
                ManagerAnswer::Committed(quorate_two_phase_commit::manager::CommitEnd::RolledBack)
            }
            (ManagerRequest::Commit(_), Fault::FailsToCommit) => fails("it cannot be reached"),
            (ManagerRequest::RollBack(_), Fault::FailsToRollBack(times)) if times > 0 => {
                site.fault = Fault::FailsToRollBack(times - 1);
                fails("it cannot be reached")
            }
            (ManagerRequest::RollBack(branch), Fault::IsCommittedByHand) => {
                ready(memory.commit(*branch)).expect("in memory");
                ManagerAnswer::RolledBack(ready(memory.roll_back(*branch)).expect("in memory"))
            }
            _ => answer(memory, request),
        };
        if site.fault == Fault::AnswersTwice {
            self.answers.push_back((ticket, answer.clone()));
        }
        self.answers.push_back((ticket, answer));
    }

    /// Something crashes. A manager starts again at once.
    pub(crate) fn crash(&mut self, crash: Crash) {
        match crash {
            Crash::Resource(resource) => self.sites[&resource].memory.crash(),
            Crash::ManagerWithoutWrite => self.restart(),
            Crash::ManagerWithLateRequests => {
                self.late.extend(std::mem::take(&mut self.requests).into_iter().map(|(_, request)| request));
                self.restart();
            }
            Crash::ManagerWithWrite => {
                for (_, operations) in std::mem::take(&mut self.writes) {
                    self.disk.write(&operations);
                }
                self.restart();
            }
        }
    }

    /// The process of the manager is killed and starts again. Its sessions end, except where a request is on its way.
    pub(crate) fn restart(&mut self) {
        for branch in std::mem::take(&mut self.sessions) {
            let memory = &self.sites[&branch.resource].memory;
            let is_late = self.late.iter().any(|request| request.branch() == Some(branch));
            if is_late || memory.prepared().contains(&branch) {
                self.sessions.push(branch);
            } else {
                ready(memory.roll_back(branch)).expect("in memory");
            }
        }
        self.starts += 1;
        self.writes.clear();
        self.requests.clear();
        self.answers.clear();
        let names = self.config.resources().clone();
        self.config = ManagerConfig::new(MANAGER, NODE, self.starts, names, self.config.settings().clone())
            .expect("usable settings");
        self.core = ManagerCore::recover(self.now, self.config.clone(), self.disk.recovery(usize::MAX))
            .expect("what was written can be read");
        self.introduce();
    }

    /// Asks for the outcome of a transaction.
    pub(crate) fn knowledge(&mut self, transaction: TransactionNumber) -> Knowledge {
        self.commands += 1;
        let asked = CommandId(self.commands);
        self.command(ManagerCommand::Query { command: asked, transaction });
        self.settle();
        let known = self.events.iter().find_map(|event| match event {
            ManagerEvent::Known { command, knowledge } if *command == asked => Some(*knowledge),
            _ => None,
        });
        known.expect("a query is answered")
    }

    /// True if the branch of the transaction in this resource took effect.
    pub(crate) fn has_effect(&self, number: usize, transaction: TransactionNumber) -> bool {
        let value = transaction.sequence + 100 * transaction.epoch.0;
        self.memory(number).value("value") == Some(value)
    }

    fn introduce(&mut self) {
        self.input(Input::Signal(Signal::PeerStanding { node: NODE, standing: Standing::Member }));
    }
}

pub(crate) fn settings() -> ManagerSettings {
    ManagerSettings::default()
}

fn answer(memory: &Memory<u64>, request: &ManagerRequest) -> ManagerAnswer {
    const WORKS: &str = "a resource in memory answers";
    match request {
        ManagerRequest::Prepare(branch) => ManagerAnswer::Voted(ready(memory.prepare(*branch)).expect(WORKS)),
        ManagerRequest::Commit(branch) => ManagerAnswer::Committed(ready(memory.commit(*branch)).expect(WORKS)),
        ManagerRequest::CommitOnePhase(branch) => {
            ManagerAnswer::Decided(ready(memory.commit_one_phase(*branch)).expect(WORKS))
        }
        ManagerRequest::RollBack(branch) => {
            let end: RollBackEnd = ready(memory.roll_back(*branch)).expect(WORKS);
            ManagerAnswer::RolledBack(end)
        }
        ManagerRequest::Recover(id) => ManagerAnswer::Listed(ready(memory.recover(MANAGER, *id)).expect(WORKS)),
        ManagerRequest::Forget { resource, below, unfinished } => {
            ready(memory.forget(MANAGER, *resource, *below, unfinished)).expect(WORKS);
            ManagerAnswer::Forgotten
        }
    }
}

/// The result of a future that never waits.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a resource in memory never waits"),
    }
}

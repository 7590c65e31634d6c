//! Replicated logs, three nodes: Raft and Multi-Paxos.
//!
//! By symmetry the first deadline that comes is node 1's: at rest the nodes differ by their names alone.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::log::AnyLog;
use quorate_protocol::replication::message::{
    AppendEntries, AppendOutcome, HeartbeatResponse, Message, Pace, RequestVote, Verdict, VoteKind, VoteResponse,
};
use quorate_protocol::replication::testing::{CommittedForever, LeaderCompleteness, MonotoneState, OneLeaderATerm};
use quorate_protocol::replication::{Config, Election, LogCore, Settings, Start};
use quorate_protocol::testing::Stream;
use quorate_protocol::{
    Configuration, DiskState, Entry, EntryKind, Input, Law, LogAnswer, LogCommand, LogEvent, LogIndex, LogRequest,
    MemberChange, NodeId, Operation, Output, Proposal, ProposalId, ReadId, Recovery, ReplicatedLog, Role, Term,
    Violation, crc32c,
};
use quorate_raft::UpToDateLog;
use stateright::Property;

use crate::check::{asked, exhaust, find, is_full};
use crate::model::{Budget, Model, State};
use crate::node::{Node, OWN_LAWS};
use crate::subject::Subject;

/// Three nodes, and a bug between their cores and the world.
struct LogOfThree<E> {
    rule: PhantomData<E>,
    opening: Opening,
    asks: Asks,
    term_max: Term,
    bug: Option<Bug>,
    has_drawn_waits: bool,
}

/// How it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// Nobody leads, and nobody ever did.
    Rest,
    /// Node 1 leads, and has committed an entry of its term everywhere.
    Led,
}

/// What applications ask beside proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Nothing,
    /// Reads, of every node that knows a leader.
    Reads,
    /// That the leader hands over.
    Transfers,
    /// That the leader changes the members: one of them leaves, or votes no more.
    Changes,
    /// That the leader removes itself.
    Removals,
}

/// What is wrong with every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// Its disk says that writes are durable when they are not.
    DiskLies,
    /// It starts again without knowing whom it voted for.
    ForgetsVote,
    /// It votes for everybody who asks.
    GrantsEveryVote,
    /// It votes for candidates whose log is older than its own.
    IgnoresCandidatesLog,
    /// It says that entries are committed when it sends them.
    CommitsWhenSending,
    /// It votes and says that its log is empty.
    HidesLog,
    /// It takes the news of a later leader for an answer to its heartbeat.
    TakesRefusalForAnswer,
}

#[derive(Clone, Debug)]
struct Facts {
    role: Role,
    term: Term,
    /// The term that it cannot fall behind any more.
    durable_term: Term,
    /// Whether it follows a leader.
    is_led: bool,
    /// See [`digests`].
    log: Vec<(Term, u64)>,
}

#[derive(Clone, Debug, Default, Hash)]
struct Memory {
    elections: OneLeaderATerm,
    committed: CommittedForever,
    completeness: LeaderCompleteness,
    monotone: MonotoneState,
    /// How many entries were committed when each read was asked for.
    reads: BTreeMap<ReadId, u64>,
    /// The first read that was to be answered from an earlier state.
    stale_read: Option<(ReadId, LogIndex)>,
}

impl<E: Election> LogOfThree<E> {
    fn new(opening: Opening, term_max: u64) -> Self {
        Self {
            rule: PhantomData,
            opening,
            asks: Asks::Nothing,
            term_max: Term(term_max),
            bug: None,
            has_drawn_waits: false,
        }
    }

    /// A follower that asks for reads waits for the answer and for the leader, and the second wait is drawn. So is the
    /// wait of a leader that was removed while it still writes.
    fn asking(self, asks: Asks) -> Self {
        let has_drawn_waits = matches!(asks, Asks::Reads | Asks::Removals);
        Self { asks, has_drawn_waits: self.has_drawn_waits || has_drawn_waits, ..self }
    }

    /// A follower that hears of its leader again while it writes waits for its disk and for the leader, and the second
    /// wait is drawn.
    fn heard_while_writing(self) -> Self {
        Self { has_drawn_waits: true, ..self }
    }

    /// An elected node that fetches a log waits for the voter and for the end of its campaign, and the second wait is
    /// drawn.
    fn waiting_twice(self) -> Self {
        Self { has_drawn_waits: true, ..self }
    }

    fn with(self, bug: Bug) -> Self {
        Self { bug: Some(bug), ..self }
    }
}

impl<E: Election> Subject for LogOfThree<E> {
    type Core = LogCore<E>;
    type Facts = Facts;
    type Memory = Memory;

    fn nodes(&self) -> Vec<NodeId> {
        vec![NodeId(1), NodeId(2), NodeId(3)]
    }

    fn config(&self, node: NodeId) -> Config {
        let members = Configuration::of_voters(self.nodes());
        let settings = Settings {
            // All waits of a run together are shorter than a millisecond, so that log time, which decides nothing,
            // stands still.
            election_timeout_min: Duration::from_nanos(500),
            election_timeout_max: Duration::from_micros(1),
            // Two heartbeats that nobody answers end a leadership, and news of commitment needs no deadline of its own.
            heartbeat_interval: Duration::from_nanos(250),
            commit_notice_delay: Duration::ZERO,
            ..Settings::default()
        };
        Config::new(node, node.0, Start::Initial(members), settings).expect("valid settings")
    }

    fn commands(&self, node: &Node<Self>, given: u8) -> Vec<LogCommand> {
        let (is_leader, is_led) = (node.facts.role == Role::Leader, node.facts.is_led);
        let mut commands = Vec::new();
        if is_leader && !matches!(self.asks, Asks::Changes | Asks::Removals) {
            commands.push(proposal(given));
        }
        match self.asks {
            Asks::Changes if is_leader => {
                let of = |node: NodeId| [MemberChange::Remove(node), MemberChange::Demote(node)];
                commands.extend(self.nodes().into_iter().flat_map(of).map(|change| change_command(given, change)));
            }
            Asks::Removals if is_leader => commands.push(change_command(given, MemberChange::Remove(node.id))),
            Asks::Reads if is_leader || is_led => commands.push(LogCommand::Read { id: ReadId(given.into()) }),
            Asks::Transfers if is_leader => {
                commands.push(LogCommand::Transfer { to: None, timeout: Duration::from_secs(1) });
            }
            _ => {}
        }
        commands
    }

    fn answers(&self, _node: NodeId, request: &LogRequest) -> Vec<LogAnswer> {
        unreachable!("nobody makes snapshots, and so none is sent: {request:?}")
    }

    fn facts(&self, core: &LogCore<E>, disk: &Stream) -> Facts {
        let status = core.status();
        let is_led = status.role != Role::Leader && status.leader.is_some();
        let durable_term = disk.state.as_ref().map_or(Term(0), term_of);
        Facts { role: status.role, term: status.term, durable_term, is_led, log: digests(disk) }
    }

    /// A follower of a leader that is alive votes for nobody else.
    fn depends_on_time(&self, receiver: &Node<Self>, message: &Message) -> bool {
        matches!(message, Message::RequestVote(_)) && receiver.facts.is_led
    }

    fn is_within(&self, node: &Node<Self>) -> bool {
        node.facts.term <= self.term_max
    }

    fn given(&self, memory: &mut Memory, command: &LogCommand) {
        if let LogCommand::Read { id } = command {
            let committed = memory.committed.committed().count();
            memory.reads.insert(*id, committed as u64);
        }
    }

    fn told(&self, memory: &mut Memory, _node: NodeId, event: &LogEvent) {
        if let LogEvent::ReadReady { id, index } = event
            && memory.reads.get(id).is_some_and(|committed| index.0 < *committed)
        {
            memory.stale_read.get_or_insert((*id, *index));
        }
    }

    fn judge(&self, memory: &mut Memory, state: &State<Self>, crashed: Option<NodeId>) -> Result<(), Violation> {
        let cores: Vec<(NodeId, &LogCore<E>)> = state.nodes.iter().map(|node| (node.id, &node.core)).collect();
        if let Some(crashed) = crashed {
            let others: Vec<_> = cores.iter().copied().filter(|(node, _)| *node != crashed).collect();
            memory.monotone.check(&others)?;
        }
        memory.elections.check(&cores)?;
        memory.committed.check(&cores)?;
        memory.completeness.check(&cores)?;
        memory.monotone.check(&cores)?;
        check_durable(memory, &state.nodes)?;
        check_matching(&state.nodes)?;
        match memory.stale_read {
            None => Ok(()),
            Some((id, index)) => {
                let detail =
                    format!("{id:?} is answered at {index}, committed was {} when it was asked", memory.reads[&id]);
                Err(Violation { law: FRESH, detail })
            }
        }
    }

    fn properties(&self) -> Vec<Property<Model<Self>>> {
        let mut properties = vec![
            Property::<Model<Self>>::always(OWN_LAWS, |_, state| state.keeps(OWN_LAWS)),
            Property::<Model<Self>>::always("one leader a term", |_, state| state.keeps("one leader a term")),
            Property::<Model<Self>>::always("committed for ever", |_, state| state.keeps("committed for ever")),
            Property::<Model<Self>>::always("leader completeness", |_, state| state.keeps("leader completeness")),
            Property::<Model<Self>>::always("monotone state", |_, state| state.keeps("monotone state")),
            Property::<Model<Self>>::always(DURABLE, |_, state| state.keeps(DURABLE)),
            Property::<Model<Self>>::always(MATCHING, |_, state| state.keeps(MATCHING)),
            Property::<Model<Self>>::always(FRESH, |_, state| state.keeps(FRESH)),
        ];
        if self.bug.is_none() {
            properties.extend(milestones());
        }
        properties
    }

    fn opening(&self) -> Vec<NodeId> {
        if self.opening == Opening::Led { vec![NodeId(1)] } else { Vec::new() }
    }

    /// Answers to what the receiver asks no more, and will not again even if it crashes: in a term that it cannot fall
    /// behind it stands and leads once at most.
    fn is_dead(&self, receiver: &Node<Self>, message: &Message) -> bool {
        let Facts { role, term, durable_term, .. } = receiver.facts;
        if message.term() > durable_term {
            return false;
        }
        match message {
            Message::VoteResponse(answer) => {
                let is_open = answer.kind != VoteKind::Pre && role == Role::Candidate && term == answer.asked;
                answer.asked <= durable_term && !is_open
            }
            Message::AppendResponse(_) | Message::HeartbeatResponse(_) => {
                message.term() < durable_term || !matches!(role, Role::Candidate | Role::Leader)
            }
            _ => false,
        }
    }

    /// Before the first deadline comes all nodes differ by their names alone, or all followers do.
    fn may_time_out_first(&self, node: NodeId) -> bool {
        match self.opening {
            Opening::Rest => node == NodeId(1),
            Opening::Led => node != NodeId(3),
        }
    }

    fn has_drawn_waits(&self) -> bool {
        self.has_drawn_waits
    }

    fn on_input(&self, core: &LogCore<E>, input: Input<LogCore<E>>) -> Input<LogCore<E>> {
        match (self.bug, input) {
            (Some(Bug::TakesRefusalForAnswer), Input::Message { from, message: Message::AppendResponse(answer) })
                if answer.outcome == AppendOutcome::Stale =>
            {
                let (term, none) = (core.status().term, LogIndex::ZERO);
                let (received_index, match_index, durable_index) = (none, none, none);
                let (pace, disk) = (Pace::Lively, DiskState::Ready);
                let answer =
                    HeartbeatResponse { term, round: 1, received_index, match_index, durable_index, pace, disk };
                Input::Message { from, message: Message::HeartbeatResponse(answer) }
            }
            (Some(Bug::IgnoresCandidatesLog), Input::Message { from, message: Message::RequestVote(request) }) => {
                let flattering = RequestVote { last_index: LogIndex(9), last_term: Term(9), ..request };
                Input::Message { from, message: Message::RequestVote(flattering) }
            }
            (_, input) => input,
        }
    }

    fn on_output(&self, _core: &LogCore<E>, output: Output<LogCore<E>>) -> Vec<Output<LogCore<E>>> {
        let Output::Send { to, message } = output else { return vec![output] };
        let message = match (self.bug, message) {
            (Some(Bug::GrantsEveryVote), Message::VoteResponse(answer)) => {
                Message::VoteResponse(VoteResponse { verdict: Verdict::Granted, ..answer })
            }
            (Some(Bug::HidesLog), Message::VoteResponse(answer)) => {
                Message::VoteResponse(VoteResponse { last_index: LogIndex(0), last_term: Term(0), ..answer })
            }
            (Some(Bug::CommitsWhenSending), Message::AppendEntries(entries)) => {
                let count: u32 = entries.batch.header().runs.iter().map(|run| run.count).sum();
                let commit_index = entries.prev_index.plus(u64::from(count));
                Message::AppendEntries(AppendEntries { commit_index, ..entries })
            }
            (_, message) => message,
        };
        vec![Output::Send { to, message }]
    }

    fn on_recovery(&self, mut recovery: Recovery) -> Recovery {
        if self.bug == Some(Bug::ForgetsVote) {
            recovery.state = recovery.state.map(|state| without_vote(&state));
        }
        recovery
    }

    fn says_written_too_early(&self) -> bool {
        self.bug == Some(Bug::DiskLies)
    }
}

fn proposal(number: u8) -> LogCommand {
    let payload = Bytes::copy_from_slice(&[number]);
    let id = ProposalId { sequence: u64::from(number) + 1, ..ProposalId::default() };
    let checksum = crc32c(&payload);
    LogCommand::Propose(Proposal { id, kind: EntryKind::Command, acknowledged_below: 0, payload, checksum })
}

fn change_command(number: u8, change: MemberChange) -> LogCommand {
    let id = ProposalId { sequence: u64::from(number) + 1, ..ProposalId::default() };
    LogCommand::ChangeConfiguration { id, changes: vec![change] }
}

fn milestones<E: Election>() -> [Property<Model<LogOfThree<E>>>; 10] {
    [
        Property::<Model<LogOfThree<E>>>::sometimes("a read waits under one leader while another leads", |_, state| {
            let leaders = state.nodes.iter().filter(|node| node.facts.role == Role::Leader).count();
            leaders > 1 && !state.memory().reads.is_empty()
        }),
        Property::<Model<LogOfThree<E>>>::sometimes("a joint configuration is left", |_, state| {
            let committed = configurations(state.memory(), &state.nodes);
            committed.iter().skip(1).any(|(_, configuration)| !configuration.is_joint())
        }),
        Property::<Model<LogOfThree<E>>>::sometimes("leadership is handed over", |_, state| {
            state.network.iter().any(|envelope| matches!(envelope.message, Message::TimeoutNow(_)))
                || state.nodes.iter().any(|node| node.facts.role == Role::Leader && node.id != NodeId(1))
        }),
        Property::<Model<LogOfThree<E>>>::sometimes("a leader is elected", |_, state| {
            state.nodes.iter().any(|node| node.facts.role == Role::Leader)
        }),
        Property::<Model<LogOfThree<E>>>::sometimes("a command is committed", |_, state| {
            is_command_committed(state, Term(u64::MAX))
        }),
        Property::<Model<LogOfThree<E>>>::sometimes("a committed command survives a change of leader", |_, state| {
            let newest =
                state.nodes.iter().filter(|node| node.facts.role == Role::Leader).map(|node| node.facts.term).max();
            newest.is_some_and(|term| is_command_committed(state, term))
        }),
        Property::<Model<LogOfThree<E>>>::sometimes("two candidates stand in a term", |_, state| {
            let candidates = || state.nodes.iter().filter(|node| node.facts.role == Role::Candidate);
            candidates().any(|one| candidates().any(|other| one.id != other.id && one.facts.term == other.facts.term))
        }),
        Property::<Model<LogOfThree<E>>>::sometimes("a vote is refused because of an older log", |_, state| {
            state.network.iter().any(|envelope| match &envelope.message {
                // Asked about a later term than its own, a voter has no other reason.
                Message::VoteResponse(answer) => {
                    answer.kind == VoteKind::Pre && answer.verdict == Verdict::Refused && answer.term < answer.asked
                }
                _ => false,
            })
        }),
        Property::<Model<LogOfThree<E>>>::sometimes("an elected node gets what it lacks", |_, state| {
            state.network.iter().any(|envelope| matches!(envelope.message, Message::PulledEntries(_)))
        }),
        Property::<Model<LogOfThree<E>>>::sometimes("an uncommitted entry is overwritten", |_, state| {
            let operations = state.nodes.iter().flat_map(|node| &node.writes).flat_map(|(_, operations)| operations);
            operations.into_iter().any(|operation| matches!(operation, Operation::TruncateFrom { .. }))
        }),
    ]
}

/// Whether an entry of an application, appended before `term`, is known to be committed.
fn is_command_committed<E: Election>(state: &State<LogOfThree<E>>, term: Term) -> bool {
    let is_command = |index: LogIndex, at: Term| {
        let mut disks = state.nodes.iter().map(|node| &node.disk);
        let offset = usize::try_from(index.0 - 1).expect("a small log");
        disks.any(|disk| {
            let entry = disk.entries.get(offset);
            entry.is_some_and(|(found, entry)| *found == at && entry.header.kind == EntryKind::Command)
        })
    };
    state.memory().committed.committed().any(|(index, at)| at < term && is_command(index, at))
}

/// What any node knows to be committed is durable on a quorum of the configuration at its index. Of a joint one the new
/// half decides alone once the entry that leaves it is appended, even if that gets lost.
fn check_durable<E: Election>(memory: &Memory, nodes: &[std::sync::Arc<Node<LogOfThree<E>>>]) -> Result<(), Violation> {
    let configurations = configurations(memory, nodes);
    for (index, term) in memory.committed.committed() {
        let at = configurations.iter().rev().find(|(from, _)| *from <= index);
        let voters: Vec<NodeId> = at.map(|(_, configuration)| configuration.voters().collect()).unwrap_or_default();
        let holds = |node: &&std::sync::Arc<Node<LogOfThree<E>>>| {
            voters.contains(&node.id) && node.disk.term_at(index) == Some(term)
        };
        let copies = nodes.iter().filter(holds).count();
        if copies * 2 <= voters.len() {
            let detail = format!("entry {index} of term {term} is durable on {copies} of {voters:?}");
            return Err(Violation { law: DURABLE, detail });
        }
    }
    Ok(())
}

/// The configurations that are known to be committed, and their indexes.
fn configurations<E: Election>(
    memory: &Memory,
    nodes: &[std::sync::Arc<Node<LogOfThree<E>>>],
) -> Vec<(LogIndex, Configuration)> {
    let content = |(index, term): (LogIndex, Term)| {
        let place = usize::try_from(index.0 - 1).expect("a small log");
        let entries = nodes.iter().filter_map(|node| node.disk.entries.get(place));
        let (_, entry) = entries.into_iter().find(|(of, _)| *of == term)?;
        let is_configuration = entry.header.kind == EntryKind::Configuration;
        is_configuration.then(|| (index, Configuration::decode(&entry.payload).expect("a correct node wrote it")))
    };
    memory.committed.committed().filter_map(content).collect()
}

/// Two logs that hold an entry of the same index and term are equal up to it (Raft figure 3).
fn check_matching<E: Election>(nodes: &[std::sync::Arc<Node<LogOfThree<E>>>]) -> Result<(), Violation> {
    for (place, one) in nodes.iter().enumerate() {
        for other in &nodes[place + 1..] {
            let mut pairs = one.facts.log.iter().zip(&other.facts.log);
            if pairs.any(|(one, other)| one.0 == other.0 && one.1 != other.1) {
                let detail = format!("the logs of {} and {} part and meet again", one.id, other.id);
                return Err(Violation { law: MATCHING, detail });
            }
        }
    }
    Ok(())
}

/// The term of each entry on the disk, and what stands for the log up to it.
fn digests(disk: &Stream) -> Vec<(Term, u64)> {
    let mut hasher = DefaultHasher::new();
    let digest = |(term, entry): &(Term, Entry)| {
        (term, entry).hash(&mut hasher);
        (*term, hasher.finish())
    };
    disk.entries.iter().map(digest).collect()
}

const DURABLE: &str = "committed is durable on a quorum";
const MATCHING: &str = "log matching";
const FRESH: &str = "reads see what was committed before them";

/// The term in a state record; its layout is in the core's codec.
fn term_of(state: &Bytes) -> Term {
    let bytes = state.get(1..9).and_then(|bytes| bytes.try_into().ok());
    Term(u64::from_le_bytes(bytes.expect("a state record holds a term")))
}

/// The state record with the vote taken out.
fn without_vote(state: &Bytes) -> Bytes {
    let mut bytes = state.to_vec();
    bytes[9..18].fill(0);
    bytes.into()
}

type RaftOfThree = LogOfThree<UpToDateLog>;
type PaxosOfThree = LogOfThree<AnyLog>;

/// Nothing budgeted.
const NONE: Budget = Budget { timeouts: 0, commands: 0, duplicates: 0, disconnections: 0, crashes: 0, refusals: 0 };

#[test]
fn from_rest() {
    let budget = Budget { timeouts: 1, commands: 1, ..NONE };
    let budget = asked(budget, budget);
    let milestones = ["a leader is elected", "a command is committed"];
    exhaust("from rest", RaftOfThree::new(Opening::Rest, 3), budget, &milestones);
}

#[test]
fn two_candidates() {
    let term_max = if is_full() { 3 } else { 1 };
    let budget = Budget { timeouts: 2, ..NONE };
    let budget = asked(budget, budget);
    let milestones = ["a leader is elected", "two candidates stand in a term"];
    exhaust("two candidates", RaftOfThree::new(Opening::Rest, term_max), budget, &milestones);
}

#[test]
fn from_a_leader() {
    let subject = RaftOfThree::new(Opening::Led, 3);
    let budget = Budget { timeouts: 1, commands: 1, ..NONE };
    let budget = asked(budget, Budget { commands: 2, ..budget });
    let milestones = [
        "a committed command survives a change of leader",
        "a vote is refused because of an older log",
        "an uncommitted entry is overwritten",
    ];
    exhaust("from a leader", subject, budget, &milestones);
}

#[test]
fn with_crashes() {
    let subject = RaftOfThree::new(Opening::Led, 3);
    let budget = Budget { timeouts: 1, crashes: 1, ..NONE };
    let budget = asked(budget, Budget { timeouts: 2, ..budget });
    exhaust("with crashes", subject, budget, &["a leader is elected"]);
}

#[test]
fn with_messages_that_come_twice() {
    let subject = RaftOfThree::new(Opening::Led, 3).heard_while_writing();
    let budget = Budget { timeouts: 1, duplicates: 1, ..NONE };
    let budget = asked(budget, Budget { commands: 1, ..budget });
    exhaust("with messages that come twice", subject, budget, &["a leader is elected"]);
}

#[test]
fn with_lost_connections() {
    let subject = RaftOfThree::new(Opening::Led, 3);
    let budget = Budget { timeouts: 1, disconnections: 1, ..NONE };
    let budget = asked(budget, Budget { commands: 1, ..budget });
    exhaust("with lost connections", subject, budget, &["a leader is elected"]);
}

#[test]
fn with_refused_writes() {
    let subject = RaftOfThree::new(Opening::Led, 3);
    let budget = Budget { timeouts: 1, commands: 1, refusals: 1, ..NONE };
    let budget = asked(budget, Budget { refusals: 2, ..budget });
    exhaust("with refused writes", subject, budget, &["a leader is elected"]);
}

#[test]
fn with_reads() {
    let subject = RaftOfThree::new(Opening::Led, 3).asking(Asks::Reads);
    let budget = Budget { timeouts: 1, commands: 1, ..NONE };
    let budget = asked(budget, Budget { timeouts: 2, ..budget });
    exhaust("with reads", subject, budget, &["a read waits under one leader while another leads"]);
}

#[test]
fn with_transfers() {
    let subject = RaftOfThree::new(Opening::Led, 3).asking(Asks::Transfers);
    let budget = Budget { commands: 1, ..NONE };
    let budget = asked(budget, Budget { timeouts: 1, ..budget });
    exhaust("with transfers", subject, budget, &["leadership is handed over"]);
}

/// Nobody else can lead: the leader changes the members, and every message and write takes its time.
#[test]
fn with_a_change_of_members() {
    let asks = if is_full() { Asks::Changes } else { Asks::Removals };
    let subject = RaftOfThree::new(Opening::Led, 1).asking(asks);
    let budget = Budget { timeouts: 1, commands: 1, ..NONE };
    let budget = asked(budget, Budget { crashes: 1, ..budget });
    exhaust("with a change of members", subject, budget, &["a joint configuration is left"]);
}

/// The leader removes itself, and hands its leadership over or loses it before.
#[test]
fn with_a_leader_that_is_removed() {
    let subject = RaftOfThree::new(Opening::Led, 2).asking(Asks::Removals);
    let budget = Budget { commands: 1, ..NONE };
    let budget = asked(budget, Budget { timeouts: 1, ..budget });
    exhaust("with a leader that is removed", subject, budget, &["a joint configuration is left"]);
}

/// Nobody else can lead: followers lose the leader and find it again, in its term, with and without what they knew of
/// it.
#[test]
fn with_a_leader_that_stays() {
    let budget = Budget { timeouts: 2, crashes: 1, ..NONE };
    let budget = asked(budget, Budget { commands: 1, ..budget });
    exhaust("with a leader that stays", RaftOfThree::new(Opening::Led, 1), budget, &["a leader is elected"]);
}

#[test]
fn finds_a_disk_that_lies() {
    let budget = Budget { timeouts: 2, crashes: 1, ..NONE };
    let subject = RaftOfThree::new(Opening::Rest, 1).with(Bug::DiskLies);
    assert_eq!(find("a disk that lies", subject, budget), DURABLE);
}

#[test]
fn finds_a_forgotten_vote() {
    let budget = Budget { timeouts: 2, crashes: 1, ..NONE };
    let subject = RaftOfThree::new(Opening::Rest, 1).with(Bug::ForgetsVote);
    assert_eq!(find("a forgotten vote", subject, budget), "one leader a term");
}

#[test]
fn finds_votes_for_everybody() {
    let budget = Budget { timeouts: 2, ..NONE };
    let subject = RaftOfThree::new(Opening::Rest, 1).with(Bug::GrantsEveryVote);
    assert_eq!(find("votes for everybody", subject, budget), "one leader a term");
}

#[test]
fn finds_votes_for_older_logs() {
    let budget = Budget { timeouts: 1, commands: 1, ..NONE };
    let subject = RaftOfThree::new(Opening::Led, 2).with(Bug::IgnoresCandidatesLog);
    assert_eq!(find("votes for older logs", subject, budget), "leader completeness");
}

#[test]
fn finds_a_commit_before_its_quorum() {
    let budget = Budget { timeouts: 1, ..NONE };
    let subject = RaftOfThree::new(Opening::Rest, 1).with(Bug::CommitsWhenSending);
    assert_eq!(find("a commit before its quorum", subject, budget), DURABLE);
}

#[test]
fn finds_a_read_behind_the_back_of_a_later_leader() {
    let budget = Budget { timeouts: 1, commands: 1, ..NONE };
    let subject = RaftOfThree::new(Opening::Led, 2).asking(Asks::Reads).with(Bug::TakesRefusalForAnswer);
    assert_eq!(find("a read behind a later leader's back", subject, budget), FRESH);
}

#[test]
fn paxos_from_rest() {
    let budget = Budget { timeouts: 1, commands: 1, ..NONE };
    let budget = asked(budget, budget);
    let milestones = ["a leader is elected", "a command is committed"];
    exhaust("paxos from rest", PaxosOfThree::new(Opening::Rest, 3), budget, &milestones);
}

#[test]
fn paxos_with_two_candidates() {
    let budget = Budget { timeouts: 2, ..NONE };
    let budget = asked(budget, budget);
    let milestones = ["a leader is elected", "two candidates stand in a term"];
    exhaust("paxos with two candidates", PaxosOfThree::new(Opening::Rest, 1), budget, &milestones);
}

/// A node that lacks an entry is elected and fetches it, and one whose last entry contradicts gives it up.
#[test]
fn paxos_from_a_leader() {
    let subject = PaxosOfThree::new(Opening::Led, 3).waiting_twice();
    let budget = Budget { timeouts: 1, commands: 1, ..NONE };
    let budget = asked(budget, Budget { commands: 2, ..budget });
    let milestones = ["a committed command survives a change of leader", "an elected node gets what it lacks"];
    exhaust("paxos from a leader", subject, budget, &milestones);
}

#[test]
fn paxos_with_crashes() {
    let subject = PaxosOfThree::new(Opening::Led, 3).waiting_twice();
    let budget = Budget { timeouts: 1, crashes: 1, ..NONE };
    let budget = asked(budget, Budget { timeouts: 2, commands: 1, ..budget });
    exhaust("paxos with crashes", subject, budget, &["a leader is elected"]);
}

#[test]
fn paxos_with_a_leader_that_is_removed() {
    let subject = PaxosOfThree::new(Opening::Led, 2).asking(Asks::Removals);
    let budget = Budget { commands: 1, ..NONE };
    let budget = asked(budget, Budget { timeouts: 1, ..budget });
    exhaust("paxos with a leader that is removed", subject, budget, &["a joint configuration is left"]);
}

#[test]
fn finds_voters_that_hide_their_logs() {
    let budget = Budget { timeouts: 1, commands: 1, ..NONE };
    let subject = PaxosOfThree::new(Opening::Led, 2).with(Bug::HidesLog);
    assert_eq!(find("voters that hide their logs", subject, budget), "leader completeness");
}

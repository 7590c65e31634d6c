//! No message of a peer, content of the disk or input of a user panics a core.

use std::ops::AddAssign;
use std::time::Duration;

use super::forge::Forger;
use super::{Builder, Cluster, small_settings};
use crate::replication::{Election, LogCore, Message, Settings};
use crate::{Input, LogAnswer, LogIndex, LogRequest, NodeId, Now, Output, Protocol, ReplicatedLog, Role, Signal};

/// What hostile runs reached: the numbers of cores that got their inputs in each role.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attacked {
    /// Leaders.
    pub leaders: u64,
    /// Followers.
    pub followers: u64,
    /// Candidates: where the rule elects any node, one that waits for entries that it lacks.
    pub candidates: u64,
    /// Cores that took an entry that a peer had forged.
    pub deceived: u64,
}

impl AddAssign for Attacked {
    fn add_assign(&mut self, other: Self) {
        self.leaders += other.leaders;
        self.followers += other.followers;
        self.candidates += other.candidates;
        self.deceived += other.deceived;
    }
}

/// Gives a core of three sixty random inputs: forged messages of its peers, answers to questions that it did not ask,
/// commands. Its invariants are checked after each.
///
/// # Panics
/// When the core does, or an invariant is broken.
pub fn play_hostile<E: Election>(seed: u64) -> Attacked {
    let mut cluster = stage::<E>(seed);
    let (node, peer) = if seed % 3 == 1 { (2, 1) } else { (1, 3) };
    let mut forger = Forger::new(seed, NodeId(peer));
    let mut core = cluster.node_mut(node).core.take().expect("it runs");
    let mut now = Now { instant: cluster.now(), wall_ms: 0 };
    let role = core.status().role;
    let mut attacked = Attacked {
        leaders: u64::from(role == Role::Leader),
        followers: u64::from(role == Role::Follower),
        candidates: u64::from(role == Role::Candidate),
        deceived: 0,
    };
    let completes = forger.below(2) == 0;
    for _ in 0..INPUTS {
        forger.look(&core);
        let input = forger.input();
        if matches!(input, Input::Signal(Signal::Timeout))
            && let Some(deadline) = core.deadline()
        {
            now.instant = now.instant.max(deadline);
        }
        attacked.deceived |= u64::from(is_taken(&mut core, now, input));
        while let Some(output) = core.poll_output() {
            if completes && let Some(answer) = honest_answer(output) {
                core.handle(now, answer);
            }
        }
        core.check_invariants();
    }
    attacked
}

/// The answer of a disk and an application that do what they are asked to.
fn honest_answer<E: Election>(output: Output<LogCore<E>>) -> Option<Input<LogCore<E>>> {
    match output {
        Output::Persist { ticket, .. } => Some(Input::Signal(Signal::Persisted(ticket))),
        Output::Request { ticket, request: LogRequest::ReceiveSnapshot { snapshot, .. } } => {
            Some(Input::Completed { ticket, answer: LogAnswer::SnapshotDurable { snapshot } })
        }
        _ => None,
    }
}

/// Gives the core an input, and returns true if its log got longer by a message.
fn is_taken<E: Election>(core: &mut LogCore<E>, now: Now, input: Input<LogCore<E>>) -> bool {
    let is_message = matches!(input, Input::Message { .. });
    let last = core.status().last_index;
    core.handle(now, input);
    is_message && core.status().last_index > last
}

/// A cluster whose node 1 leads (and node 2 follows), or whose node 1 lacks entries and was asked to lead.
fn stage<E: Election>(seed: u64) -> Cluster<E> {
    let settings = Settings { pull_before_election: true, ..small_settings(seed) };
    let mut cluster = Builder::<E>::new(3, seed).settings(settings).start();
    if seed % 3 != 2 {
        cluster.elect_node(1);
        return cluster;
    }
    cluster.elect_node(2);
    cluster.isolate(1);
    for number in 0..10_u8 {
        cluster.propose(2, &[number; 100]);
        cluster.run(Duration::from_millis(20));
    }
    if seed.is_multiple_of(2) {
        cluster.snapshot(3, 0);
    }
    cluster.only_links(&[(1, 3)]);
    cluster.hold(|_, to, message| to == NodeId(1) && is_help(message));
    cluster.park(3, 2);
    let has_campaigned = |cluster: &Cluster<E>| cluster.node(1).core().status().role == Role::Candidate;
    cluster.run_until(Duration::from_secs(5), has_campaigned);
    assert!(cluster.node(1).core().status().last_index < LogIndex(10), "it lacks entries");
    cluster
}

/// True for the answers to a node that lacks entries.
fn is_help(message: &Message) -> bool {
    matches!(message, Message::PulledEntries(_) | Message::PulledSnapshot(_) | Message::AppendEntries(_))
}

/// Number of inputs of a run.
const INPUTS: usize = 60;

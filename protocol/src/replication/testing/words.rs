//! Descriptions of messages, writes and events in words.

use std::fmt::Write;

use crate::replication::codec::decode_state;
use crate::replication::message::{AppendOutcome, Pace, ReadOutcome, Verdict, VoteKind};
use crate::replication::{Election, Message};
use crate::{Configuration, DiskState, Entry, EntryBatch, EntryKind, LogEvent, LogIndex, NodeId, Operation, Term};

/// The names of messages, as [`kind`] returns them.
pub const KINDS: [&str; 17] = [
    "pre-vote",
    "vote",
    "vote-answer",
    "append",
    "append-answer",
    "heartbeat",
    "heartbeat-answer",
    "commit",
    "snapshot",
    "read-index",
    "read-answer",
    "timeout-now",
    "removed",
    "lease-promise",
    "pull",
    "pulled",
    "pulled-snapshot",
];

/// Returns the kind of a message.
pub fn kind(message: &Message) -> &'static str {
    match message {
        Message::RequestVote(request) if request.kind == VoteKind::Pre => "pre-vote",
        Message::RequestVote(_) => "vote",
        Message::VoteResponse(_) => "vote-answer",
        Message::AppendEntries(_) => "append",
        Message::AppendResponse(_) => "append-answer",
        Message::Heartbeat(_) => "heartbeat",
        Message::HeartbeatResponse(_) => "heartbeat-answer",
        Message::CommitNotice(_) => "commit",
        Message::InstallSnapshot(_) => "snapshot",
        Message::ReadIndex(_) => "read-index",
        Message::ReadIndexResponse(_) => "read-answer",
        Message::TimeoutNow(_) => "timeout-now",
        Message::Removed(_) => "removed",
        Message::LeasePromise(_) => "lease-promise",
        Message::PullEntries(_) => "pull",
        Message::PulledEntries(_) => "pulled",
        Message::PulledSnapshot(_) => "pulled-snapshot",
    }
}

/// Describes a message in one line.
pub fn message_words(message: &Message) -> String {
    let content = match message {
        Message::RequestVote(request) => {
            let by = if request.kind == VoteKind::Transfer { ", by order of the leader" } else { "" };
            format!("log ends at {}{by}", at(request.last_index, request.last_term))
        }
        Message::VoteResponse(response) => {
            let answer = if response.verdict == Verdict::Granted { "yes" } else { "no" };
            let what = if response.kind == VoteKind::Pre { "pre-vote" } else { "vote" };
            format!("{answer} to the {what} for term {}", response.asked)
        }
        Message::AppendEntries(append) => {
            let entries = batch_words(&append.batch);
            format!("{entries} behind {}; committed {}", at(append.prev_index, append.prev_term), append.commit_index)
        }
        Message::PullEntries(question) => format!("what follows {}", at(question.prev_index, question.prev_term)),
        Message::PulledSnapshot(pulled) => {
            format!("take my snapshot up to {}", at(pulled.snapshot.index, pulled.snapshot.term))
        }
        Message::PulledEntries(pulled) => {
            format!("{} behind {}", batch_words(&pulled.batch), at(pulled.prev_index, pulled.prev_term))
        }
        Message::AppendResponse(response) => match response.outcome {
            AppendOutcome::Matched { match_index } => format!("durable up to {match_index}"),
            AppendOutcome::Conflict { prev_index, hint_index, hint_term } => {
                format!("no match at {prev_index}, perhaps at {}", at(hint_index, hint_term))
            }
            AppendOutcome::Stale => "your term is over".to_owned(),
            AppendOutcome::Corrupt { index } => format!("entry {index} is not what it was"),
        },
        Message::Heartbeat(heartbeat) => {
            let quiet = if heartbeat.pace == Pace::Quiet { ", quiet" } else { "" };
            format!("round {}; committed {}{quiet}", heartbeat.round, heartbeat.commit_index)
        }
        Message::HeartbeatResponse(response) => {
            let quiet = if response.pace == Pace::Quiet { ", quiet" } else { "" };
            let disk =
                if response.disk == DiskState::Ready { String::new() } else { format!(", disk {:?}", response.disk) };
            let (round, received) = (response.round, response.received_index);
            format!("round {round}; received up to {received}, durable up to {}{quiet}{disk}", response.match_index)
        }
        Message::CommitNotice(notice) => format!("committed {}", notice.commit_index),
        Message::InstallSnapshot(install) => {
            format!("take my snapshot up to {}", at(install.snapshot.index, install.snapshot.term))
        }
        Message::ReadIndex(question) => format!("question {}", question_words(question.number)),
        Message::ReadIndexResponse(answer) => {
            let outcome = match answer.outcome {
                ReadOutcome::Index(index) => format!("read at {index}"),
                ReadOutcome::NotLeader => "not the leader".to_owned(),
                ReadOutcome::Overloaded => "overloaded".to_owned(),
            };
            format!("question {}: {outcome}", question_words(answer.number))
        }
        Message::TimeoutNow(_) => "lead in my place".to_owned(),
        Message::Removed(removed) => format!("configuration {} does not have you", removed.index),
        Message::LeasePromise(promise) => {
            format!("round {}; no vote for others for {} us", promise.round, promise.span_us)
        }
    };
    format!("{} term={}: {content}", kind(message), message.term())
}

fn batch_words(batch: &EntryBatch) -> String {
    let entries = batch.decode().unwrap_or_default();
    let entries: Vec<String> = entries.iter().map(|(index, term, entry)| entry_words(*index, *term, entry)).collect();
    if entries.is_empty() { "nothing".to_owned() } else { entries.join(", ") }
}

/// Describes a write in one line.
pub fn operations_words<E: Election>(operations: &[Operation]) -> String {
    let words: Vec<String> = operations.iter().map(operation_words::<E>).collect();
    words.join("; ")
}

/// Describes an entry in a few words.
pub fn entry_words(index: LogIndex, term: Term, entry: &Entry) -> String {
    let content = match entry.header.kind {
        EntryKind::Command => format!("{:?}", String::from_utf8_lossy(&entry.payload)),
        EntryKind::Configuration => "configuration".to_owned(),
        EntryKind::NoOp => "no-op".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{index}/{term} {content}")
}

/// Describes an event for the application, in one line.
pub fn event_words(event: &LogEvent) -> String {
    match event {
        LogEvent::Appended { id, index, term } => format!("proposal {} stands at {}", id.sequence, at(*index, *term)),
        LogEvent::Refused { id, reason, leader } => {
            let leader = leader.map_or("nobody".to_owned(), |node| format!("n{node}"));
            format!("proposal {} is refused: {reason:?}; {leader} leads", id.sequence)
        }
        LogEvent::Committed { index } => format!("committed up to {index}"),
        LogEvent::ReadReady { id, index } => format!("read {id} may be answered from {index} on"),
        LogEvent::ReadFailed { id, reason } => format!("read {id} fails: {reason:?}"),
        LogEvent::Role { role, term, leader } => {
            let mut words = format!("{role} in term {term}");
            if let Some(leader) = leader {
                let _ = write!(words, ", n{leader} leads");
            }
            words
        }
        LogEvent::Installed { snapshot } => format!("the log starts anew behind {}", at(snapshot.index, snapshot.term)),
        LogEvent::Configuration { configuration } => format!("members are {}", members_words(configuration)),
        LogEvent::Voting { barred: None } => "may vote".to_owned(),
        LogEvent::Voting { barred: Some(bar) } => format!("may not vote: {bar:?}"),
        LogEvent::AcknowledgedLost { node } => format!("n{node} has lost what it acknowledged"),
        LogEvent::ClockDiffers { wall_ahead_ms: Some(ahead_ms) } => {
            format!("the wall clock is {ahead_ms} ms ahead of log time")
        }
        LogEvent::ClockDiffers { wall_ahead_ms: None } => "the wall clock agrees with log time".to_owned(),
    }
}

/// Describes a configuration: the voters, then the learners, then the members that it replaces.
fn members_words(configuration: &Configuration) -> String {
    let ids =
        |nodes: &mut dyn Iterator<Item = NodeId>| nodes.map(|node| format!("n{node}")).collect::<Vec<_>>().join(" ");
    let learners = configuration.members().iter().filter(|member| !member.votes()).map(|member| member.node);
    let mut words = ids(&mut configuration.voters());
    let learners = ids(&mut learners.into_iter());
    if !learners.is_empty() {
        let _ = write!(words, ", learning {learners}");
    }
    if configuration.is_joint() {
        let _ = write!(words, ", joint with {}", ids(&mut configuration.outgoing_voters()));
    }
    words
}

fn operation_words<E: Election>(operation: &Operation) -> String {
    match operation {
        Operation::Append { index, term, entries } => {
            let words = (index.0..).zip(entries).map(|(at, entry)| entry_words(LogIndex(at), *term, entry));
            format!("append {}", words.collect::<Vec<_>>().join(", "))
        }
        Operation::TruncateFrom { index } => format!("cut off from {index}"),
        Operation::CompactTo { index, term } => format!("forget up to {}", at(*index, *term)),
        Operation::Reset { index, term } => format!("start anew behind {}", at(*index, *term)),
        Operation::PutState { bytes, .. } => match decode_state(bytes, E::CODE) {
            Ok(state) => {
                let vote = state.voted_for.map_or("nobody".to_owned(), |node| format!("n{node}"));
                format!("term {}, vote for {vote}", state.term)
            }
            Err(error) => format!("{error}"),
        },
        Operation::CommitHint { index } => format!("committed {index}"),
        other => format!("{other:?}"),
    }
}

/// Describes a question's number: the start of the node, and the question of that start.
fn question_words(number: u64) -> String {
    format!("{}.{}", number >> 32, number & u64::from(u32::MAX))
}

/// Describes a position in the log: index and term.
fn at(index: LogIndex, term: Term) -> String {
    format!("{index}/{term}")
}

//! The cluster on which a text plays, and the commands that it understands.

use std::time::Duration;

use quorate_protocol::testing::{Fate, Happening, Release};
use quorate_protocol::{Input, LogCommand, NodeId, PersistFailure, Protocol, ReplicatedLog};
use quorate_raft::testing::{Builder, Cluster, KINDS, entry_words, event_words, kind, message_words, operations_words};
use quorate_raft::{Message, Raft, Settings};

/// A cluster, once a text has created one.
#[derive(Default)]
pub(super) struct Stage {
    cluster: Option<Cluster>,
}

/// Selects messages by sender, receiver and kind. A field that is `None` selects all.
#[derive(Clone, Copy, Debug, Default)]
struct Pick {
    from: Option<NodeId>,
    to: Option<NodeId>,
    kind: Option<&'static str>,
}

impl Pick {
    fn picks(&self, from: NodeId, to: NodeId, message: &Message) -> bool {
        let is_kind = self.kind.is_none_or(|wanted| wanted == kind(message));
        is_kind && self.from.is_none_or(|wanted| wanted == from) && self.to.is_none_or(|wanted| wanted == to)
    }
}

type Obeyed = Result<Vec<String>, String>;

impl Stage {
    /// Carries out a command, and returns the events line by line.
    pub(super) fn obey(&mut self, command: &str) -> Obeyed {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["cluster", count, ref options @ ..] => {
                let mut cluster = cluster(number(count)?, options)?;
                cluster.start_recording();
                self.cluster = Some(cluster);
                Ok(Vec::new())
            }
            ["quietly", ..] => {
                self.obey(command.trim_start_matches("quietly").trim_start())?;
                Ok(Vec::new())
            }
            _ => {
                let cluster = self.cluster.as_mut().ok_or("the first command is: cluster")?;
                let mut shown = act(cluster, &words)?;
                shown.extend(cluster.take_record().iter().map(happening_words));
                Ok(shown)
            }
        }
    }
}

fn cluster(count: u64, options: &[&str]) -> Result<Cluster, String> {
    let mut settings = Settings::default();
    for option in options {
        match option.split_once('=') {
            Some(("cache", bytes)) => settings.cache_bytes_max = size(bytes)?,
            // One entry in each message.
            Some(("batch", bytes)) => {
                (settings.entry_bytes_max, settings.batch_bytes_max) = (size(bytes)?, size(bytes)?);
            }
            _ => return Err(format!("{option} is no option")),
        }
    }
    let mut cluster = Builder::new(count, 1).settings(settings).start();
    cluster.deliver();
    Ok(cluster)
}

/// Carries out a command. The events are in the record; other lines to show are returned.
fn act(cluster: &mut Cluster, words: &[&str]) -> Obeyed {
    match *words {
        ["timeout", node] => cluster.time_out(number(node)?),
        ["run", millis] => cluster.run(Duration::from_millis(number(millis)?)),
        ["propose", node, ref payload @ ..] => {
            cluster.propose(number(node)?, payload.join(" ").as_bytes());
            cluster.deliver();
        }
        ["read", node] => {
            cluster.read(number(node)?);
            cluster.deliver();
        }
        ["transfer", node, to] => {
            let (to, timeout) = (Some(NodeId(number(to)?)), Duration::from_millis(500));
            cluster.input(NodeId(number(node)?), Input::Command(LogCommand::Transfer { to, timeout }));
            cluster.deliver();
        }
        ["snapshot", node, ref keep @ ..] => {
            let kept = keep.first().map_or(Ok(0), |kept| number(kept))?;
            cluster.snapshot(number(node)?, kept);
            cluster.deliver();
        }
        ["crash", node] => cluster.crash(number(node)?),
        ["restart", node] => {
            cluster.restart(number(node)?);
            cluster.deliver();
        }
        ["wipe", node] => cluster.wipe(number(node)?),
        ["cut", from, to] => cluster.cut(number(from)?, number(to)?),
        ["isolate", node] => cluster.isolate(number(node)?),
        ["links", ref links @ ..] => {
            cluster.only_links(&links.iter().map(|text| link(text)).collect::<Result<Vec<_>, _>>()?);
        }
        ["heal"] => cluster.heal(),
        ["forget"] => cluster.forget_parked(),
        ["hold", "disk", node] => cluster.hold_disk(number(node)?),
        ["release", "disk", node] => cluster.release_disk(number(node)?),
        ["persist", node] => cluster.persist_oldest(number(node)?),
        ["refuse", node] => cluster.fail_oldest(number(node)?, PersistFailure::NotWritten),
        ["break", node] => cluster.fail_oldest(number(node)?, PersistFailure::Unknown),
        ["hold", ref what @ ..] => {
            let pick = pick(what)?;
            cluster.hold(move |from, to, message| pick.picks(from, to, message));
        }
        ["deliver", ref what @ ..] => release(cluster, Release::Deliver, what)?,
        ["drop", ref what @ ..] => release(cluster, Release::Drop, what)?,
        ["duplicate", ref what @ ..] => release(cluster, Release::Duplicate, what)?,
        ["release"] => {
            cluster.release();
        }
        ["held"] => {
            let held = cluster.parked().iter();
            return Ok(held
                .map(|(from, to, message)| format!("n{from} -> n{to} {}", message_words(message)))
                .collect());
        }
        ["status"] => return Ok(cluster.nodes.keys().map(|node| status_words(cluster, node.0)).collect()),
        ["deadlines"] => return Ok(cluster.nodes.keys().filter_map(|node| deadline_words(cluster, node.0)).collect()),
        ["log", node] => return Ok(log_words(cluster, number(node)?)),
        ["applied", node] => {
            let applied = cluster.node(number(node)?).commands();
            return Ok(vec![format!(
                "{:?}",
                applied.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect::<Vec<_>>()
            )]);
        }
        _ => return Err("no such command".to_owned()),
    }
    Ok(Vec::new())
}

fn release(cluster: &mut Cluster, release: Release, what: &[&str]) -> Result<(), String> {
    let pick = pick(what)?;
    cluster.release_as(release, |from, to, message| pick.picks(from, to, message));
    Ok(())
}

/// Reads `1->2`, `1->`, `->2` and the name of a kind of message, in any order.
fn pick(words: &[&str]) -> Result<Pick, String> {
    let mut pick = Pick::default();
    for word in words {
        if let Some((from, to)) = word.split_once("->") {
            let node = |text: &str| if text.is_empty() { Ok(None) } else { number(text).map(|id| Some(NodeId(id))) };
            (pick.from, pick.to) = (node(from)?, node(to)?);
        } else {
            let known = KINDS.into_iter().find(|kind| kind == word);
            pick.kind = Some(known.ok_or_else(|| format!("{word} is none of {}", KINDS.join(", ")))?);
        }
    }
    Ok(pick)
}

fn link(text: &str) -> Result<(u64, u64), String> {
    let (one, other) = text.split_once('-').ok_or_else(|| format!("{text} is no link"))?;
    Ok((number(one)?, number(other)?))
}

fn size(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is no size"))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn happening_words(happening: &Happening<Raft>) -> String {
    match happening {
        Happening::TimedOut { node } => format!("n{node} deadline"),
        Happening::Sent { from, to, message, fate } => {
            let fate = match fate {
                Fate::Sent => "",
                Fate::Held => "  (held)",
                Fate::Lost => "  (lost)",
            };
            format!("n{from} -> n{to} {}{fate}", message_words(message))
        }
        Happening::Released { from, to, message } => format!("n{from} -> n{to} {}  (at last)", message_words(message)),
        Happening::Wrote { node, operations } => format!("n{node} writes {}", operations_words(operations)),
        Happening::Persisted { node } => format!("n{node} has it durable"),
        Happening::Told { node, event } => format!("n{node} tells: {}", event_words(event)),
        Happening::Halted { node, reason } => format!("n{node} stops: {reason}"),
    }
}

fn status_words(cluster: &Cluster, node: u64) -> String {
    let Some(core) = &cluster.node(node).core else { return format!("n{node} is down") };
    let status = core.status();
    let (role, term, last) = (status.role, status.term, status.last_index);
    let (durable, committed) = (status.durable_index, status.commit_index);
    format!("n{node} {role} in term {term}; log to {last}, durable to {durable}, committed to {committed}")
}

fn deadline_words(cluster: &Cluster, node: u64) -> Option<String> {
    let wait = cluster.node(node).core.as_ref()?.deadline()?.since(cluster.now());
    Some(format!("n{node} in {} ms", wait.as_millis()))
}

/// Describes the content of a node's disk.
fn log_words(cluster: &Cluster, node: u64) -> Vec<String> {
    let disk = &cluster.node(node).disk;
    let first = disk.base.index.next();
    let entries = (first.0..).zip(&disk.entries);
    let base = (disk.base.index.0 > 0).then(|| format!("behind {}/{}", disk.base.index, disk.base.term));
    let entries = entries.map(|(index, (term, entry))| entry_words(quorate_protocol::LogIndex(index), *term, entry));
    base.into_iter().chain(entries).collect()
}

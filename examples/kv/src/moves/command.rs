//! The commands of `kv shard`.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use super::request::{LayoutAnswer, LayoutRequest, LayoutStatus, fetch, send};
use crate::config::ClusterConfig;
use crate::credentials::Credentials;
use crate::shards::layout::SlotMove;
use crate::status::{self, StatusError};

/// Reason why a command was not carried out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// The layout does not allow it. Nothing was changed.
    #[error("refused: {0}")]
    Refused(String),
    /// There was no opportunity to begin. Nothing was changed, as far as is known.
    #[error("not begun: {0}")]
    NotBegun(String),
    /// It was begun, and is not complete.
    #[error("not complete yet: {0}; it goes on by itself, and `kv shard list` shows how far it is")]
    UnderWay(String),
}

/// The shards, and the moves under way, as a table.
///
/// # Errors
/// When no node answers.
pub fn list(credentials: &Credentials, config: &ClusterConfig) -> Result<String, ShardError> {
    let known = ask(credentials, config)?;
    let mut text = format!("{:<7}{:<8}{:>7}{:>12}{:>14}\n", "shard", "leader", "slots", "keys", "bytes");
    let groups = config.nodes.values().filter_map(|node| status::fetch(credentials, &node.http).ok());
    let groups: Vec<_> = groups.flat_map(|node| node.groups).collect();
    for shard in 0..known.layout.shards() {
        let of_shard = || groups.iter().filter(|group| group.group == u64::from(shard));
        let group = of_shard().find(|group| group.role == "leader").or_else(|| of_shard().next());
        let leader = group.and_then(|group| group.leader).map_or_else(|| "-".to_owned(), |leader| leader.to_string());
        let (keys, bytes) = group.map_or((0, 0), |group| (group.keys, group.bytes));
        let slots = known.layout.slots_of(shard).len();
        writeln!(text, "{shard:<7}{leader:<8}{slots:>7}{keys:>12}{bytes:>14}").expect("a string takes all");
    }
    for (change, left) in known.layout.moves().iter().zip(&known.keys_left) {
        writeln!(text, "{}, {left} keys left", describe(change)).expect("a string takes all");
    }
    Ok(text)
}

/// The moves that a request would begin, as lines, and the number of their slots.
///
/// # Errors
/// When no node answers.
pub fn plan(credentials: &Credentials, config: &ClusterConfig, change: &LayoutRequest) -> Result<String, ShardError> {
    let known = ask(credentials, config)?;
    let moves = change.moves(&known.layout);
    let slots: usize = moves.iter().map(|(_, _, slots)| slots.len()).sum();
    let mut text = String::new();
    for (from, to, slots) in moves {
        writeln!(text, "{} slots from shard {from} to shard {to}", slots.len()).expect("a string takes all");
    }
    writeln!(text, "{slots} slots of 16384 move").expect("a string takes all");
    Ok(text)
}

/// Begins a change, and waits until it is complete. `tell` gets a line of progress from time to time.
///
/// # Errors
/// When it is refused, does not begin, or is not complete within `patience`. Then it goes on by itself.
pub fn run(
    credentials: &Credentials,
    config: &ClusterConfig,
    change: &LayoutRequest,
    patience: Duration,
    mut tell: impl FnMut(&str),
) -> Result<String, ShardError> {
    let start = Instant::now();
    let moves = begin(credentials, config, change)?;
    if moves.is_empty() {
        return Ok("nothing has to move".to_owned());
    }
    let mut last = String::new();
    loop {
        let line = match ask(credentials, config) {
            Ok(known) => {
                let left = left(&known, &moves);
                if left.is_empty() {
                    let slots: usize = moves.iter().map(|it| it.slots.len()).sum();
                    return Ok(format!("{slots} slots have moved in {:.1} s", start.elapsed().as_secs_f64()));
                }
                let keys: u64 = left.iter().map(|(_, keys)| keys).sum();
                format!("{} of {} moves under way, {keys} keys left", left.len(), moves.len())
            }
            Err(error) => error.to_string(),
        };
        if start.elapsed() > patience {
            return Err(ShardError::UnderWay(line));
        }
        if line != last {
            tell(&line);
        }
        last = line;
        thread::sleep(GLANCE);
    }
}

fn left<'a>(known: &'a LayoutStatus, moves: &[SlotMove]) -> Vec<(&'a SlotMove, u64)> {
    let under_way = known.layout.moves().iter().zip(known.keys_left.iter().copied());
    under_way.filter(|(change, _)| moves.contains(change)).collect()
}

fn begin(
    credentials: &Credentials,
    config: &ClusterConfig,
    change: &LayoutRequest,
) -> Result<Vec<SlotMove>, ShardError> {
    let mut reasons = Vec::new();
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        reasons.clear();
        for (id, node) in &config.nodes {
            match send(credentials, &node.http, change) {
                Ok(LayoutAnswer::Begun { moves }) => return Ok(moves),
                Ok(LayoutAnswer::Refused { reason }) => return Err(ShardError::Refused(reason)),
                Err(error @ StatusError::Refused(_)) => {
                    return Err(ShardError::Refused(format!("node {id}: {error}")));
                }
                Ok(LayoutAnswer::NotNow { reason }) => reasons.push(format!("node {id}: {reason}")),
                Err(error) => reasons.push(format!("node {id}: {error}")),
            }
        }
        thread::sleep(GLANCE);
    }
    Err(ShardError::NotBegun(reasons.join("; ")))
}

/// The layout as the first node that answers knows it.
fn ask(credentials: &Credentials, config: &ClusterConfig) -> Result<LayoutStatus, ShardError> {
    let mut newest: Option<LayoutStatus> = None;
    for node in config.nodes.values() {
        match fetch(credentials, &node.http) {
            Ok(Some(known)) => {
                if newest.as_ref().is_none_or(|other| other.layout.generation() < known.layout.generation()) {
                    newest = Some(known);
                }
            }
            Ok(None) => return Err(ShardError::Refused("the store has one shard".to_owned())),
            Err(_) => {}
        }
    }
    newest.ok_or_else(|| ShardError::NotBegun("no node knows the layout".to_owned()))
}

fn describe(change: &SlotMove) -> String {
    let SlotMove { from, to, slots, .. } = change;
    format!("{} slots move from shard {from} to shard {to}", slots.len())
}

/// Maximum time to begin.
const PATIENCE: Duration = Duration::from_secs(10);
/// Interval at which the nodes are asked.
const GLANCE: Duration = Duration::from_millis(200);

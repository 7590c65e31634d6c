//! Carries out a command of `kv member`: finds the leader, asks it, and waits.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use super::plan::{MemberCommand, Step, View};
use super::request::{MemberAnswer, MemberRequest, send};
use crate::config::ClusterConfig;
use crate::credentials::Credentials;
use crate::status::{GroupStatus, StatusError, fetch};

/// Reason why a command was not carried out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// The members do not allow it. Nothing was changed.
    #[error("refused: {0}")]
    Refused(String),
    /// There was no opportunity to begin. Nothing was changed.
    #[error("nothing was changed: {0}")]
    NotBegun(String),
    /// It was begun, and it is not known to be complete.
    #[error("not complete yet: {0}; the same command goes on with it")]
    UnderWay(String),
}

/// Carries a command out, and returns what was reached. Waits at most `patience` in all; `tell` gets a line of progress
/// from time to time.
///
/// # Errors
/// When the command is refused, cannot begin, or is not complete in time.
pub fn run(
    credentials: &Credentials,
    config: &ClusterConfig,
    command: MemberCommand,
    patience: Duration,
    tell: impl FnMut(&str),
) -> Result<String, MemberError> {
    if config.shards > 1 {
        let reason = "a store of several shards keeps the nodes with which it began";
        return Err(MemberError::Refused(reason.to_owned()));
    }
    let address = match command.newcomer() {
        None => String::new(),
        Some(id) => {
            let node = config.nodes.get(&id);
            node.ok_or_else(|| MemberError::Refused(format!("there is no node {id} in the file")))?.peer.to_string()
        }
    };
    Run {
        credentials,
        config,
        command,
        address,
        leader: None,
        goal: None,
        has_begun: false,
        progress: Progress::new(tell),
    }
    .complete(patience)
}

/// The members as a table.
///
/// # Errors
/// When no leader is reached.
pub fn list(credentials: &Credentials, config: &ClusterConfig) -> Result<String, MemberError> {
    let start = Instant::now();
    let group = loop {
        match find_leader(credentials, config, &mut None) {
            Ok((_, group)) => break group,
            Err(reason) if start.elapsed() > OBSTACLE_PATIENCE => return Err(MemberError::NotBegun(reason)),
            Err(_) => thread::sleep(GLANCE),
        }
    };
    Ok(table(&group))
}

fn table(group: &GroupStatus) -> String {
    let mut text = format!("{:<5}{:<10}{:<24}{:<10}{:>10}\n", "node", "role", "address", "disk", "lag");
    for member in &group.members {
        let disk = member.incarnation.as_deref().map_or("-", |disk| disk.get(..DISK_DIGITS).unwrap_or(disk));
        let peer = group.progress.iter().find(|peer| peer.node == member.node);
        let lag =
            if group.leader == Some(member.node) { Some(group.last_index) } else { peer.map(|it| it.match_index) };
        let lag = lag.map_or_else(|| "-".to_owned(), |index| group.last_index.saturating_sub(index).to_string());
        let line = format!("{:<5}{:<10}{:<24}{disk:<10}{lag:>10}", member.node, member.role, member.address);
        text.push_str(&line);
        match (member.replaces, member.waits_for_promotion) {
            (Some(old), _) => write!(text, "  takes the place of node {old} once it has caught up"),
            (None, true) => write!(text, "  becomes a voter once it has caught up"),
            (None, false) => Ok(()),
        }
        .expect("a string takes all");
        text.push('\n');
    }
    text
}

/// A command that is being carried out.
struct Run<'a, T> {
    credentials: &'a Credentials,
    config: &'a ClusterConfig,
    command: MemberCommand,
    /// The address for other nodes of the node that becomes a member.
    address: String,
    /// The node that led when it was last asked.
    leader: Option<u64>,
    /// The last entry at the time when a learner became a member. It has caught up once it has that.
    goal: Option<u64>,
    /// A request was sent that may have had an effect, or the change is under way already.
    has_begun: bool,
    progress: Progress<T>,
}

impl<T: FnMut(&str)> Run<'_, T> {
    fn complete(mut self, patience: Duration) -> Result<String, MemberError> {
        let start = Instant::now();
        let mut able_at = start;
        loop {
            let obstacle = match self.advance()? {
                Advance::Done(text) => return Ok(text),
                Advance::Waits => None,
                Advance::Obstacle(reason) => Some(reason),
            };
            if obstacle.is_none() {
                able_at = Instant::now();
            }
            if start.elapsed() > patience || able_at.elapsed() > OBSTACLE_PATIENCE {
                let reason = obstacle.unwrap_or_else(|| self.progress.last.clone());
                return Err(if self.has_begun { MemberError::UnderWay(reason) } else { MemberError::NotBegun(reason) });
            }
            thread::sleep(GLANCE);
        }
    }

    fn advance(&mut self) -> Result<Advance, MemberError> {
        let (leader, group) = match find_leader(self.credentials, self.config, &mut self.leader) {
            Ok(found) => found,
            Err(reason) => return Ok(Advance::Obstacle(reason)),
        };
        let node = self.command.newcomer().and_then(|id| group_of(self.credentials, self.config, id).ok());
        let is_member = self.command.newcomer().is_some_and(|id| group.members.iter().any(|member| member.node == id));
        let goal = if is_member { *self.goal.get_or_insert(group.commit_index) } else { group.commit_index };
        let step = self.command.step(View { group: &group, node: node.as_ref(), address: &self.address, goal });
        match step {
            Step::Done(text) => Ok(Advance::Done(text)),
            Step::Refuse(reason) => Err(MemberError::Refused(reason)),
            Step::Ask(request) => self.ask(leader, &request),
            Step::AskNode(id) => Ok(Advance::Obstacle(format!("node {id} does not answer: start it with `kv serve`"))),
            Step::WaitFor(id) => {
                self.has_begun = true;
                self.progress.tell(id, &group, node.as_ref());
                Ok(Advance::Waits)
            }
            Step::Settle => {
                self.has_begun = true;
                self.progress.say("waits until a quorum has the new members".to_owned());
                Ok(Advance::Waits)
            }
        }
    }

    fn ask(&mut self, leader: u64, request: &MemberRequest) -> Result<Advance, MemberError> {
        let reason = match send(self.credentials, &self.config.nodes[&leader].http, request) {
            Ok(MemberAnswer::Applied) => {
                self.has_begun = true;
                return Ok(Advance::Waits);
            }
            Ok(MemberAnswer::Refused { reason }) => return Err(MemberError::Refused(reason)),
            Ok(MemberAnswer::NotLeader) => {
                self.leader = None;
                format!("node {leader} leads no more")
            }
            Ok(MemberAnswer::NotNow { reason }) => reason,
            Ok(MemberAnswer::Unknown { reason }) => {
                self.has_begun = true;
                reason
            }
            Err(error @ StatusError::Refused(_)) => {
                return Err(MemberError::Refused(format!("node {leader}: {error}")));
            }
            Err(error) => {
                self.has_begun = true;
                error.to_string()
            }
        };
        Ok(Advance::Obstacle(reason))
    }
}

enum Advance {
    Done(String),
    /// The change is under way.
    Waits,
    /// Something is missing that may come.
    Obstacle(String),
}

/// Returns the leader and its group. `known` is asked first, and gets the leader that was found.
fn find_leader(
    credentials: &Credentials,
    config: &ClusterConfig,
    known: &mut Option<u64>,
) -> Result<(u64, GroupStatus), String> {
    let mut silent = Vec::new();
    let mut best: Option<(u64, GroupStatus)> = None;
    let first = known.take();
    for id in first.into_iter().chain(config.nodes.keys().copied().filter(|id| Some(*id) != first)) {
        match group_of(credentials, config, id) {
            Ok(group) if group.role == "leader" => {
                if best.as_ref().is_none_or(|(_, other)| other.term < group.term) {
                    best = Some((id, group));
                }
                // A leader that was deposed and does not know it makes no change.
                if first == Some(id) {
                    break;
                }
            }
            Ok(_) => {}
            Err(reason) => silent.push(format!("node {id}: {reason}")),
        }
    }
    *known = best.as_ref().map(|(id, _)| *id);
    best.ok_or_else(|| {
        let silent = silent.join("; ");
        if silent.is_empty() { "no node leads".to_owned() } else { format!("no node leads ({silent})") }
    })
}

fn group_of(credentials: &Credentials, config: &ClusterConfig, id: u64) -> Result<GroupStatus, String> {
    let status = fetch(credentials, &config.nodes[&id].http).map_err(|error| error.to_string())?;
    status.groups.into_iter().next().ok_or_else(|| "it has no group".to_owned())
}

/// The lines of progress, at most one a second.
struct Progress<T> {
    tell: T,
    last: String,
    told_at: Option<Instant>,
    /// The amount that was missing first, and the time of it. Bytes of a snapshot, or entries.
    first: Option<(Unit, u64, Instant)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Entries,
    SnapshotBytes,
}

impl<T: FnMut(&str)> Progress<T> {
    fn new(tell: T) -> Self {
        Self { tell, last: "nothing was heard yet".to_owned(), told_at: None, first: None }
    }

    /// Tells how far a node is behind.
    fn tell(&mut self, id: u64, group: &GroupStatus, node: Option<&GroupStatus>) {
        let peer = group.progress.iter().find(|peer| peer.node == id);
        let Some(peer) = peer.filter(|peer| peer.is_active) else {
            return self.say(format!("the leader hears nothing from node {id}"));
        };
        let entries = group.last_index.saturating_sub(peer.match_index);
        let snapshot = peer.snapshot.map(|(arrived, all)| all.saturating_sub(arrived));
        // The size of the log is not known, so the data stand for it.
        let bytes = snapshot.unwrap_or_else(|| group.bytes.saturating_sub(node.map_or(0, |node| node.bytes)));
        let (unit, missing) = snapshot.map_or((Unit::Entries, entries), |bytes| (Unit::SnapshotBytes, bytes));
        let mut text = format!("node {id} is {entries} entries and about {bytes} bytes behind");
        if let Some(left) = self.time_left(unit, missing, Instant::now()) {
            write!(text, ", about {} s left", left.as_secs().max(1)).expect("a string takes all");
        }
        self.say(text);
    }

    /// Returns the time that the rest takes if it goes on as fast as it went on average.
    fn time_left(&mut self, unit: Unit, missing: u64, now: Instant) -> Option<Duration> {
        let (_, before, since) = match self.first {
            Some(first) if first.0 == unit && missing <= first.1 => first,
            _ => *self.first.insert((unit, missing, now)),
        };
        let done = before - missing;
        let nanos = (now.duration_since(since).as_nanos() * u128::from(missing)).checked_div(u128::from(done))?;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    fn say(&mut self, text: String) {
        let is_due = self.told_at.is_none_or(|told_at| told_at.elapsed() >= TELL_INTERVAL);
        if is_due && self.last != text {
            (self.tell)(&text);
            self.told_at = Some(Instant::now());
        }
        self.last = text;
    }
}

/// Maximum time for which a command waits for a leader, for the end of another change, or for a node that was just
/// started.
const OBSTACLE_PATIENCE: Duration = Duration::from_secs(10);
/// Interval at which the leader is asked.
const GLANCE: Duration = Duration::from_millis(50);
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// Number of digits of a disk that are shown.
const DISK_DIGITS: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Progress, Unit};

    #[test]
    fn the_time_left_follows_the_speed_so_far() {
        let mut progress = Progress::new(|_: &str| {});
        let start = Instant::now();
        let mut left = |unit, missing, seconds| progress.time_left(unit, missing, start + Duration::from_secs(seconds));
        assert_eq!(left(Unit::Entries, 1000, 0), None, "no speed is known");
        assert_eq!(left(Unit::Entries, 750, 1), Some(Duration::from_secs(3)));
        assert_eq!(left(Unit::Entries, 500, 2), Some(Duration::from_secs(2)));
        assert_eq!(left(Unit::SnapshotBytes, 4000, 3), None, "another unit begins anew");
        assert_eq!(left(Unit::SnapshotBytes, 1000, 6), Some(Duration::from_secs(1)));
        assert_eq!(left(Unit::SnapshotBytes, 9000, 7), None, "it fell further behind");
    }
}

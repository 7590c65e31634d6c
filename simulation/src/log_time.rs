//! Checks the pace of log time.

use std::collections::BTreeMap;

use quorate_protocol::{Instant, LogIndex, LogStatus, LogTime, NodeId, Now, Role, Term, Violation};

/// A time to live is a span of time. While one leader leads (in one office), log time advances with the leader's
/// monotone clock, except for a small correction towards the wall clock. At a new leader, log time advances by no more
/// than the time that passed on its clock since the newest entry that it had was written. If the node started after
/// that, this time is unknown.
#[derive(Debug, Default)]
pub(crate) struct LogTimePace {
    nodes: BTreeMap<NodeId, OfNode>,
    /// The clocks of all nodes at the moment when an entry was first the newest of some node.
    written: BTreeMap<(LogIndex, LogTime), BTreeMap<NodeId, Reading>>,
}

/// Observation of one node.
pub(crate) struct Look {
    /// Number of the node's start.
    pub(crate) start: u32,
    /// Time of its last input.
    pub(crate) now: Now,
    pub(crate) status: LogStatus,
}

/// A node's monotone clock in one of its starts.
#[derive(Clone, Copy, Debug)]
struct Reading {
    start: u32,
    at: Instant,
}

/// A node's newest entry when it was last checked.
#[derive(Clone, Copy, Debug)]
struct OfNode {
    start: u32,
    last: (LogIndex, LogTime),
    /// The first entry of the current office.
    office: Option<Office>,
}

#[derive(Clone, Copy, Debug)]
struct Office {
    term: Term,
    log_time: LogTime,
    at: Instant,
}

impl LogTimePace {
    /// Checks all nodes that run.
    ///
    /// # Errors
    /// When the log time of a leader's entries advances at another pace than its clock.
    pub(crate) fn check(&mut self, looks: &[Look]) -> Result<(), Violation> {
        for look in looks {
            self.check_node(look)?;
        }
        // A candidate's newest entry may be an old one: it fetches the log of a voter, part by part.
        for Look { status, .. } in looks.iter().filter(|look| look.status.role != Role::Candidate) {
            let last = (status.last_index, status.log_time);
            self.written.entry(last).or_insert_with(|| {
                let reading = |look: &Look| (look.status.node, Reading { start: look.start, at: look.now.instant });
                looks.iter().map(reading).collect()
            });
        }
        while self.written.len() > ENTRIES_MAX {
            self.written.pop_first();
        }
        Ok(())
    }

    fn check_node(&mut self, Look { start, now, status }: &Look) -> Result<(), Violation> {
        let last = (status.last_index, status.log_time);
        let fresh = OfNode { start: *start, last, office: None };
        let before = *self.nodes.entry(status.node).or_insert(fresh);
        let mut seen = if before.start == *start { OfNode { last, ..before } } else { fresh };
        let leads = status.role == Role::Leader;
        seen.office = seen.office.filter(|office| leads && office.term == status.term);
        if leads && last.0 > before.last.0 && before.start == *start {
            let (log_time, at) = (status.log_time, now.instant);
            match seen.office {
                Some(office) => check_office(office, log_time, at)?,
                None => self.check_succession(status.node, before, log_time, at)?,
            }
            seen.office.get_or_insert(Office { term: status.term, log_time, at });
        }
        self.nodes.insert(status.node, seen);
        Ok(())
    }

    fn check_succession(&self, node: NodeId, before: OfNode, to: LogTime, ended: Instant) -> Result<(), Violation> {
        let reading = self.written.get(&before.last).and_then(|readings| readings.get(&node));
        let Some(began) = reading.filter(|reading| reading.start == before.start) else { return Ok(()) };
        let (grown_ms, passed_ms) = (to.0.saturating_sub(before.last.1.0), millis(began.at, ended));
        let is_near = before.last.1 == LogTime::default() || grown_ms <= passed_ms * PACES_DIFFER + SLACK_MS;
        if is_near {
            Ok(())
        } else {
            Err(violation(&format!("at the first entry of node {node}"), grown_ms, passed_ms))
        }
    }
}

/// Within an office, log time advances with the clock.
fn check_office(office: Office, to: LogTime, ended: Instant) -> Result<(), Violation> {
    let (grown_ms, passed_ms) = (to.0.saturating_sub(office.log_time.0), millis(office.at, ended));
    let is_near = grown_ms.abs_diff(passed_ms) <= SLACK_MS + passed_ms / DRAWN_ONE_IN;
    if is_near { Ok(()) } else { Err(violation(&format!("in term {}", office.term), grown_ms, passed_ms)) }
}

fn millis(began: Instant, ended: Instant) -> u64 {
    u64::try_from(ended.since(began).as_millis()).unwrap_or(u64::MAX)
}

fn violation(place: &str, grown_ms: u64, passed_ms: u64) -> Violation {
    let detail =
        format!("{place} log time went on by {grown_ms} ms while the leader's clock went on by {passed_ms} ms");
    Violation { law: "log time goes at the pace of the leader's clock", detail }
}

/// Nodes are not checked at the moment of a write, and a clock may leap by five seconds meanwhile.
const SLACK_MS: u64 = 8_000;
/// Log time may be corrected towards the wall clock by one millisecond in this many.
const DRAWN_ONE_IN: u64 = 1_000;
/// The paces of drifting clocks differ at most by this factor.
const PACES_DIFFER: u64 = 20;
/// Number of entries that are remembered.
const ENTRIES_MAX: usize = 4_096;

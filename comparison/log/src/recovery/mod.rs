//! The three cases of partial connectivity (Ng, Haridi and Carbone, "Omni-Paxos", EuroSys 2023, §2): how long until
//! commands are committed again, and how steadily, while the links stay cut.

mod links;
mod omni;
mod ours;
mod plot;
mod raft_rs;

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

/// How much to run, and where the figures go.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Runs of each case, each with random numbers of its own.
    #[arg(long, default_value_t = 100)]
    runs: u64,
    /// A file for a picture, as SVG.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// A file for the figures of each run, as comma-separated values.
    #[arg(long)]
    raw: Option<PathBuf>,
}

/// Nodes 1 to n in simulated time. Messages take none, and those on links that are cut are lost.
trait Group {
    /// Cuts all links but these, which work in both directions.
    fn only_links(&mut self, links: &[(u64, u64)]);

    /// Lets [`STEP`] pass.
    fn step(&mut self);

    /// Proposes a command to every node that leads or passes commands on.
    fn propose(&mut self);

    /// Number of commands that some node knows to be committed.
    fn committed(&self) -> usize;

    /// True if this node alone leads.
    fn is_led_by(&self, node: u64) -> bool;

    /// Makes a node the first leader.
    fn campaign(&mut self, node: u64);
}

/// The longest election time-out of all groups: the unit of the figures. In omnipaxos it is a round of heartbeats.
const TIMEOUT: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(10);
const STEPS_A_TIMEOUT: usize = 100;
/// Election time-outs for which the links stay cut.
const CUT_TIMEOUTS: usize = 25;

/// A protocol, and a group of it: number of nodes, seed.
type Subject = (&'static str, fn(u64, u64) -> Box<dyn Group>);

const SUBJECTS: [Subject; 5] = [
    ("quorate paxos", ours::paxos),
    ("quorate raft", ours::raft),
    ("quorate raft, pulling", ours::raft_that_pulls),
    ("omnipaxos", omni::group),
    ("raft-rs", raft_rs::group),
];

/// A case of partial connectivity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// Five nodes. Of the links only those of node 1 are left. The leader is node 3, which reaches one node.
    QuorumLoss,
    /// As before, and node 1 lacks ten committed commands, and does not reach node 3.
    ConstrainedElection,
    /// Three nodes in a chain: the leader, which is at one end, and the other end do not reach each other.
    Chained,
}

impl Case {
    const ALL: [Self; 3] = [Self::QuorumLoss, Self::ConstrainedElection, Self::Chained];

    fn name(self) -> &'static str {
        match self {
            Self::QuorumLoss => "quorum loss",
            Self::ConstrainedElection => "constrained election",
            Self::Chained => "chained",
        }
    }

    fn nodes(self) -> u64 {
        if self == Self::Chained { 3 } else { 5 }
    }

    /// The links that are left.
    fn links(self) -> &'static [(u64, u64)] {
        match self {
            Self::QuorumLoss => &[(1, 2), (1, 3), (1, 4), (1, 5)],
            Self::ConstrainedElection => &[(1, 2), (1, 4), (1, 5)],
            Self::Chained => &[(1, 2), (1, 3)],
        }
    }
}

/// What a run showed.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// Election time-outs until the first command was committed; nothing if none was.
    recovered: Option<f64>,
    /// Share of the tenths of an election time-out in which a command was committed.
    served: f64,
}

/// Runs all cases, prints a table, and writes what is asked for.
pub fn run(arguments: &Arguments) -> std::io::Result<()> {
    let mut raw = String::from("case,subject,seed,election_timeouts,served\n");
    let mut strips = Vec::new();
    println!("Election time-outs until a command is committed again: median and longest of {} runs.", arguments.runs);
    println!("In brackets the share of {CUT_TIMEOUTS} election time-outs in which commands were committed.\n");
    println!("| | {} |", SUBJECTS.map(|(name, _)| name).join(" | "));
    println!("| --- |{}", " --- |".repeat(SUBJECTS.len()));
    for case in Case::ALL {
        let mut cells = Vec::new();
        for (name, make) in SUBJECTS {
            let outcomes: Vec<Outcome> =
                (1..=arguments.runs).map(|seed| play(case, name, make(case.nodes(), seed))).collect();
            for (seed, outcome) in (1..).zip(&outcomes) {
                let recovered = outcome.recovered.map_or("never".into(), |recovered| format!("{recovered:.2}"));
                let _ = writeln!(raw, "{},{name},{seed},{recovered},{:.3}", case.name(), outcome.served);
            }
            cells.push(cell(&outcomes));
            strips.push(plot::Strip { case: case.name(), subject: name, outcomes });
        }
        println!("| {} | {} |", case.name(), cells.join(" | "));
    }
    if let Some(path) = &arguments.raw {
        std::fs::write(path, raw)?;
    }
    arguments.plot.as_ref().map_or(Ok(()), |path| std::fs::write(path, plot::svg(&strips)))
}

/// Elects node 3 (in a chain node 2), cuts the links, and looks what becomes of commands.
fn play(case: Case, name: &str, mut group: Box<dyn Group>) -> Outcome {
    let all: Vec<(u64, u64)> =
        (1..=case.nodes()).flat_map(|from| (from + 1..=case.nodes()).map(move |to| (from, to))).collect();
    let leader = if case == Case::Chained { 2 } else { 3 };
    group.campaign(leader);
    for _ in 0..10 * STEPS_A_TIMEOUT {
        group.step();
    }
    assert!(group.is_led_by(leader), "{name}: a leader that is connected stays");
    if case == Case::ConstrainedElection {
        let without_first: Vec<_> = all.iter().copied().filter(|(from, _)| *from > 1).collect();
        group.only_links(&without_first);
        for _ in 0..10 {
            group.propose();
            group.step();
        }
    }
    group.only_links(case.links());
    watch(&mut *group)
}

fn watch(group: &mut dyn Group) -> Outcome {
    let (mut recovered, mut served) = (None, 0);
    let windows = CUT_TIMEOUTS * WINDOWS_A_TIMEOUT;
    for window in 0..windows {
        let before = group.committed();
        for step in 1..=STEPS_A_TIMEOUT / WINDOWS_A_TIMEOUT {
            group.propose();
            group.step();
            if group.committed() > before && recovered.is_none() {
                let steps = window * (STEPS_A_TIMEOUT / WINDOWS_A_TIMEOUT) + step;
                recovered = Some(steps as f64 / STEPS_A_TIMEOUT as f64);
            }
        }
        served += usize::from(group.committed() > before);
    }
    Outcome { recovered, served: served as f64 / windows as f64 }
}

const WINDOWS_A_TIMEOUT: usize = 10;

fn cell(outcomes: &[Outcome]) -> String {
    let mut recovered: Vec<f64> = outcomes.iter().map(|outcome| outcome.recovered.unwrap_or(f64::INFINITY)).collect();
    recovered.sort_by(f64::total_cmp);
    let served = outcomes.iter().map(|outcome| outcome.served).sum::<f64>() / outcomes.len() as f64;
    let words = |timeouts: f64| if timeouts.is_finite() { format!("{timeouts:.2}") } else { "never".into() };
    format!(
        "{}, {} ({:.0} %)",
        words(recovered[recovered.len() / 2]),
        words(recovered[recovered.len() - 1]),
        100.0 * served
    )
}

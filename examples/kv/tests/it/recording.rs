//! Judges histories that are recorded from real processes.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use quorate_simulation::history::{
    EventKind, Function, History, HistoryEvent, Judgement, SearchBudget, Verdict, write_events,
};

use serde_json::{Value, json};

use crate::cluster::Cluster;

/// A recorder that goes on until it is killed.
struct Recording {
    process: Child,
    file: PathBuf,
}

impl Recording {
    fn start(cluster: &Cluster, options: &[&str]) -> Self {
        let file = cluster.config_path().with_file_name("history.jsonl");
        let process = recorder(cluster, 100_000, &file).args(options).stdout(Stdio::null()).spawn().unwrap();
        Self { process, file }
    }

    /// Waits until `count` more calls were answered.
    fn wait_for_answers(&self, cluster: &Cluster, count: usize) {
        let target = self.answers() + count;
        cluster.wait("calls are answered", || self.answers() >= target);
    }

    fn answers(&self) -> usize {
        let lines = fs::read_to_string(&self.file).unwrap_or_default();
        lines.matches(r#""type":"ok""#).count()
    }

    /// Kills the recorder at any point.
    fn cut_off(mut self) -> PathBuf {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.file
    }
}

fn recorder(cluster: &Cluster, seconds: u64, file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv"));
    command.args(["record", "--seconds", &seconds.to_string(), "--config"]).arg(cluster.config_path());
    command.arg("--out").arg(file);
    command
}

/// Judges the file as `simulate check` does.
fn judge(file: &Path) -> Judgement {
    History::read(BufReader::new(fs::File::open(file).unwrap())).unwrap().judge(SearchBudget::default())
}

/// Records while the leader dies and comes back.
fn record_over_a_death(more: &str, options: &[&str]) -> (Cluster, PathBuf) {
    let mut cluster = Cluster::describe(3, more);
    cluster.start_all();
    cluster.leader();
    let recording = Recording::start(&cluster, options);
    recording.wait_for_answers(&cluster, 1000);
    let leader = cluster.leader();
    cluster.kill(leader);
    recording.wait_for_answers(&cluster, 1000);
    cluster.launch(leader);
    cluster.leader();
    recording.wait_for_answers(&cluster, 1000);
    let file = recording.cut_off();
    (cluster, file)
}

#[test]
fn what_clients_saw_while_a_leader_died_and_came_back_is_linearizable() {
    let (_cluster, file) = record_over_a_death("", &[]);
    let judgement = judge(&file);
    assert_eq!(judgement.verdict(), Verdict::Holds, "{judgement}");
    make_last_read_stale(&file);
    let judgement = judge(&file);
    assert_eq!(judgement.verdict(), Verdict::Violated, "{judgement}");
    assert!(judgement.to_string().contains("is not linearizable"), "{judgement}");
}

#[test]
fn transactions_while_a_leader_died_and_came_back_are_strictly_serializable() {
    let (_cluster, file) = record_over_a_death("", &["--transactions"]);
    let judgement = judge(&file);
    assert_eq!(judgement.verdict(), Verdict::Holds, "{judgement}");
    empty_last_long_read(&file);
    let judgement = judge(&file);
    assert_eq!(judgement.verdict(), Verdict::Violated, "{judgement}");
}

/// A leader that pauses is deposed, and comes back with transactions that it had begun.
#[test]
fn transactions_while_a_leader_paused_are_strictly_serializable() {
    let cluster = Cluster::start();
    let recording = Recording::start(&cluster, &["--transactions"]);
    recording.wait_for_answers(&cluster, 1000);
    let leader = cluster.leader();
    cluster.signal(leader, "STOP");
    recording.wait_for_answers(&cluster, 1000);
    cluster.signal(leader, "CONT");
    recording.wait_for_answers(&cluster, 1000);
    let judgement = judge(&recording.cut_off());
    assert_eq!(judgement.verdict(), Verdict::Holds, "{judgement}");
}

#[test]
fn transactions_over_shards_while_a_leader_died_and_came_back_are_strictly_serializable() {
    let (_cluster, file) = record_over_a_death("shards = 4", &["--transactions"]);
    let judgement = judge(&file);
    assert_eq!(judgement.verdict(), Verdict::Holds, "{judgement}");
}

/// Changes the last transaction that read a list of ten elements or more, and did more than that: it finds nothing,
/// although most of the elements were appended long before.
fn empty_last_long_read(file: &Path) {
    let mut events = read_events(file);
    let is_long = |step: &Value| step[0] == "r" && step[2].as_array().is_some_and(|list| list.len() >= 10);
    let changed = events.iter_mut().rev().find_map(|event| {
        let steps = event.value.as_array_mut().filter(|steps| event.kind == EventKind::Ok && steps.len() > 1)?;
        steps.iter_mut().find(|step| is_long(step))
    });
    changed.expect("lists grow to ten elements")[2] = json!([]);
    write_events(fs::File::create(file).unwrap(), &events).unwrap();
}

fn read_events(file: &Path) -> Vec<HistoryEvent> {
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Changes the last read that found a value: it finds the first value of its key, which was overwritten since.
fn make_last_read_stale(file: &Path) {
    let mut events = read_events(file);
    let is_ok = |event: &HistoryEvent, function| {
        event.kind == EventKind::Ok && event.function == function && !event.value.is_null()
    };
    let last = events.iter().rposition(|event| is_ok(event, Function::Read)).unwrap();
    let first = events.iter().find(|event| is_ok(event, Function::Write) && event.key == events[last].key);
    events[last].value = first.unwrap().value.clone();
    write_events(fs::File::create(file).unwrap(), &events).unwrap();
}

#[test]
fn a_recording_ends_by_itself_and_overwrites_no_other() {
    let cluster = Cluster::start();
    let file = cluster.config_path().with_file_name("history.jsonl");
    let recorded = recorder(&cluster, 1, &file).output().unwrap();
    assert!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
    let said = String::from_utf8(recorded.stdout).unwrap();
    let history = fs::read(&file).unwrap();
    let calls = History::read(&history[..]).unwrap().len();
    assert!(said.starts_with(&format!("{calls} calls: ")), "{said}");

    let again = recorder(&cluster, 1, &file).output().unwrap();
    assert!(!again.status.success());
    assert_eq!(fs::read(&file).unwrap(), history);
}

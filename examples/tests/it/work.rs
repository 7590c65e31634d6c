//! The program `work`, whose nodes are killed and paused in the midst of items.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

/// A run over items, each of which is counted in a file `started` when the command begins with it.
struct Run {
    folder: tempfile::TempDir,
    program: Child,
}

impl Run {
    /// Starts the program. The shell runs `command` in the folder, after a line that has the node and the item.
    fn start(folder: tempfile::TempDir, command: &str, options: &[&str], items: &[&str]) -> Self {
        let output = |name: &str| File::create(folder.path().join(name)).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_work"));
        program.args(["--command", &format!("echo \"$WORK_NODE $1\" >> started; {command}")]).args(options).args(items);
        program.current_dir(folder.path()).stdout(output("stdout")).stderr(output("stderr"));
        let program = program.spawn().unwrap();
        Self { folder, program }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Lets all commands go on that wait for this file.
    fn allow(&self, file: &str) {
        File::create(self.path(file)).unwrap();
    }

    /// Waits until a file of the folder is as wanted. The bound only ends a test that would hang.
    fn wait<T>(&self, name: &str, is_so: impl Fn(&str) -> Option<T>) -> T {
        for _ in 0..3_000 {
            if let Some(found) = is_so(&self.read(name)) {
                return found;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{name} never becomes so: {}{}{}", self.read(name), self.read("stdout"), self.read("stderr"));
    }

    /// The process of a node that was started for the time given, from 0 on.
    fn process(&self, node: u64, time: usize) -> String {
        let start = format!("node {node} is process ");
        self.wait("stdout", |said| {
            Some(said.lines().filter_map(|line| line.strip_prefix(&start)).nth(time)?.to_owned())
        })
    }

    /// Waits for the end and returns the exit code.
    fn code(&mut self) -> Option<i32> {
        for _ in 0..3_000 {
            if let Some(status) = self.program.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("it never ends: {}{}", self.read("started"), self.read("stdout"));
    }

    /// Waits for a good end and returns the results by item.
    fn results(&mut self) -> BTreeMap<String, String> {
        assert_eq!(self.code(), Some(0), "{}{}", self.read("stdout"), self.read("stderr"));
        let said = self.read("stdout");
        let rows = said.lines().skip_while(|line| !line.ends_with("result  node  item")).skip(1);
        let rows = rows.take_while(|line| !line.is_empty()).map(|line| {
            let mut words = line.split_whitespace();
            let (result, item) = (words.next().unwrap().to_owned(), words.nth(1).unwrap().to_owned());
            (item, result)
        });
        let rows: Vec<_> = rows.collect();
        let results: BTreeMap<_, _> = rows.iter().cloned().collect();
        assert_eq!(rows.len(), results.len(), "an item has two results: {said}");
        results
    }

    /// The number at the beginning of this sentence of the summary.
    fn counted(&self, of: &str) -> u64 {
        let said = self.read("stdout");
        let before = said.split(of).next().filter(|before| *before != said).unwrap_or_else(|| panic!("{said}"));
        before.split_whitespace().next_back().unwrap().parse().unwrap()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.allow("go");
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn signal(process: &str, signal: &str) {
    assert!(Command::new("kill").args(["-s", signal, process]).status().unwrap().success());
}

/// Node 2 dies while it has items. Others get them, and the table is that of a plain count.
#[test]
fn each_item_is_counted_once_though_a_worker_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("texts")).unwrap();
    let mut counts = BTreeMap::new();
    for words in 0..40 {
        let item = format!("texts/{words}.txt");
        fs::write(folder.path().join(&item), "word\n".repeat(words)).unwrap();
        counts.insert(item, words.to_string());
    }
    let command = r#"while [ ! -e go ]; do sleep 0.02; done; wc -w < "$1""#;
    let mut run = Run::start(folder, command, &["--lease-ms", "500"], &["texts"]);
    run.wait("started", |started| started.lines().any(|line| line.starts_with("2 ")).then_some(()));
    signal(&run.process(2, 0), "KILL");
    run.process(2, 1);
    run.allow("go");
    assert_eq!(run.results(), counts);
    assert!(run.counted("leases were lost") > 0, "{}", run.read("stdout"));
}

/// Node 2 pauses while it has an item, which another node begins meanwhile. What it then says of that item is refused,
/// although it comes first.
#[test]
fn a_late_result_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    // The first item of node 2 waits for `late`, and for `go` when it is begun again. All others wait until node 2 has
    // one.
    let command = r#"
        wait_for() { while [ ! -e $1 ]; do sleep 0.02; done; }
        if [ $WORK_NODE = 2 ] && mkdir first 2> /dev/null; then echo "$1" > first/item; wait_for late
        else wait_for first/item; [ "$1" != "$(cat first/item)" ] || wait_for go
        fi
        echo by-$WORK_NODE"#;
    let options = ["--lease-ms", "500", "--workers", "1"];
    let mut run = Run::start(folder, command, &options, &["a", "b", "c", "d", "e", "f"]);
    let by = |line: &str, node: &str| line.strip_prefix(node).map(str::to_owned);
    let item = run.wait("started", |started| started.lines().find_map(|line| by(line, "2 ")));
    let process = run.process(2, 0);
    signal(&process, "STOP");
    run.wait("started", |started| {
        started.lines().find(|line| ["1 ", "3 "].iter().any(|node| by(line, node).as_ref() == Some(&item))).map(drop)
    });
    run.allow("late");
    signal(&process, "CONT");
    run.wait("stderr", |said| said.contains("node 2: a result came too late, and is refused").then_some(()));
    run.allow("go");
    let results = run.results();
    assert_eq!(results.len(), 6, "{results:?}");
    assert!(["by-1", "by-3"].contains(&results[&item].as_str()), "{results:?}");
    assert!(run.counted("late results refused") > 0, "{}", run.read("stdout"));
}

/// What the command says of an item that it fails for stands in the table.
#[test]
fn an_item_for_which_the_command_fails_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let command = r#"[ "$1" != bad ] || { echo in vain >&2; exit 3; }; echo well"#;
    let mut run = Run::start(folder, command, &[], &["good", "bad"]);
    assert_eq!(run.code(), Some(1));
    let said = run.read("stdout");
    assert!(said.contains("failed: in vain") && said.contains("well"), "{said}");
}

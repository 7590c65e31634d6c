//! `simulate check`: judges whether a history is linearizable.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quorate_simulation::history::{
    History, HistoryError, Judgement, NilRead, ObjectKind, Reading, SearchBudget, Verdict,
};

/// Judges a history file: registers, texts, queues, sets, counters and locks must be linearizable, transactions over
/// lists must be strictly serializable, and banks must keep their total.
///
/// The order of the lines counts, not their times. The exit code is 0 if all this holds, 1 if not, 2 if the file cannot
/// be read or is no history, 3 if the budget was used up before a result, 4 if no call succeeded, so that nothing was
/// judged.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// JSON lines:
    /// {"process":1,"type":"invoke|ok|fail|info","f":"read|write|cas|txn|...","key":"x","value":1,"time":NANOSECONDS};
    /// or a file of Jepsen: history.edn, or a log of its console
    file: PathBuf,
    /// Maximum number of steps of the search; ten million take about a second
    #[arg(long, value_name = "STEPS", default_value_t = SearchBudget::default().steps_left())]
    budget: u64,
    /// Meaning of a successful read of nil in a file of Jepsen; unknown by default, but absent in logs of the console
    #[arg(long, value_enum)]
    nil: Option<Nil>,
    /// True if values in a file of Jepsen are [key value]; recognized by the calls of reads unless given
    #[arg(long, value_name = "BOOL")]
    independent: Option<bool>,
    /// The model, if the calls do not show it: a lease looks like a lock, and reads alone look like a register
    #[arg(long, value_name = "KIND", value_parser = kind)]
    model: Option<ObjectKind>,
    /// Folder for drawings of cycles of transactions, one SVG file each
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
}

fn kind(name: &str) -> Result<ObjectKind, String> {
    let names = || ObjectKind::ALL.map(ObjectKind::name).join(", ");
    ObjectKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| format!("there are {}", names()))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Nil {
    /// Any value
    Unknown,
    /// No value
    Absent,
}

impl Check {
    /// Judges the file, prints the result, and returns the exit code.
    pub(crate) fn run(&self) -> u8 {
        let history = match self.read() {
            Ok(history) => history,
            Err(error) => {
                eprintln!("{}: {error}", self.file.display());
                return UNREADABLE;
            }
        };
        let judgement = history.judge(SearchBudget::of_steps(self.budget));
        print(&judgement);
        if let Err(error) = self.draw(&judgement) {
            eprintln!("{}: the pictures cannot be written: {error}", self.file.display());
        }
        match judgement.verdict() {
            Verdict::Holds => HOLDS,
            Verdict::Violated => VIOLATED,
            Verdict::Undecided => UNDECIDED,
            Verdict::NothingJudged => NOTHING_JUDGED,
        }
    }

    fn draw(&self, judgement: &Judgement) -> io::Result<()> {
        let Some(folder) = &self.pictures else { return Ok(()) };
        fs::create_dir_all(folder)?;
        for (number, finding) in (1..).zip(&judgement.findings) {
            let Some(picture) = &finding.picture else { continue };
            let name = finding.name.split(',').next().unwrap_or_default();
            let path = folder.join(format!("{number:02}-{name}.svg"));
            fs::write(&path, picture)?;
            print(&format_args!("drawn: {}", path.display()));
        }
        Ok(())
    }

    fn read(&self) -> Result<History, HistoryError> {
        let file = File::open(&self.file).map_err(HistoryError::Io)?;
        let nil = self.nil.map(|nil| match nil {
            Nil::Unknown => NilRead::Unknown,
            Nil::Absent => NilRead::Absent,
        });
        History::read_as(BufReader::new(file), Reading { nil, is_independent: self.independent, model: self.model })
    }
}

/// Prints a line. A reader that closes the pipe early, as `head` does, still gets the verdict by the exit code.
fn print(line: &dyn fmt::Display) {
    if let Err(error) = writeln!(io::stdout(), "{line}")
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        eprintln!("the result cannot be written: {error}");
    }
}

const HOLDS: u8 = 0;
const VIOLATED: u8 = 1;
/// The same as clap's for invalid arguments.
const UNREADABLE: u8 = 2;
const UNDECIDED: u8 = 3;
const NOTHING_JUDGED: u8 = 4;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Check, kind};

    fn check(file: PathBuf, budget: u64) -> Check {
        Check { file, budget, nil: None, independent: None, model: None, pictures: None }
    }

    fn exit_code(lines: &str, budget: u64) -> u8 {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("history.jsonl");
        std::fs::write(&file, lines).expect("written");
        check(file, budget).run()
    }

    #[test]
    fn the_exit_code_is_the_verdict() {
        let write = r#"{"process":1,"type":"invoke","f":"write","key":"x","value":1,"time":1}
{"process":1,"type":"ok","f":"write","key":"x","value":1,"time":2}
{"process":2,"type":"invoke","f":"read","key":"x","value":null,"time":3}"#;
        let fresh = r#"{"process":2,"type":"ok","f":"read","key":"x","value":1,"time":4}"#;
        let stale = r#"{"process":2,"type":"ok","f":"read","key":"x","value":null,"time":4}"#;
        assert_eq!(exit_code(&format!("{write}\n{fresh}"), 1_000), 0);
        assert_eq!(exit_code(&format!("{write}\n{stale}"), 1_000), 1);
        assert_eq!(exit_code("not a history", 1_000), 2);
        assert_eq!(exit_code(&format!("{write}\n{fresh}"), 1), 3);
        assert_eq!(exit_code("", 1_000), 4);
        assert_eq!(exit_code(write.lines().next().expect("a line"), 1_000), 4);
        let jepsen = "{:process 0, :type :invoke, :f :write, :value 3}\n{:process 0, :type :ok, :f :write, :value 3}";
        assert_eq!(exit_code(jepsen, 1_000), 0);
        let file = Path::new("/nowhere/to/be/found").to_owned();
        assert_eq!(check(file, 1).run(), 2);
    }

    #[test]
    fn cycles_are_drawn() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("history.edn");
        let skew = "[0 :invoke :txn [[:append 1 1] [:r 2]]] [1 :invoke :txn [[:append 2 1] [:r 1]]]
            [0 :ok :txn [[:append 1 1] [:r 2 []]]] [1 :ok :txn [[:append 2 1] [:r 1 []]]]";
        std::fs::write(&file, skew).expect("written");
        let pictures = folder.path().join("pictures");
        let check = Check { pictures: Some(pictures.clone()), ..check(file, 1_000) };
        assert_eq!(check.run(), 1);
        let drawn = std::fs::read_to_string(pictures.join("01-G2-item.svg")).expect("drawn");
        assert!(drawn.starts_with("<svg "), "{drawn}");
    }

    #[test]
    fn a_lease_has_to_be_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("history.edn");
        let taken = "[0 :invoke :acquire nil] [0 :ok :acquire 1] [1 :invoke :acquire nil] [1 :ok :acquire 2]";
        std::fs::write(&file, taken).expect("written");
        assert_eq!(check(file.clone(), 1_000).run(), 1);
        assert_eq!(Check { model: Some(kind("lease").expect("a kind")), ..check(file, 1_000) }.run(), 0);
        assert_eq!(
            kind("leese"),
            Err("there are register, lists, text, queue, set, counter, bank, lock, lease".to_owned())
        );
    }
}

//! Scenarios as texts: the messages, writes and events of the nodes of a cluster, command by command. The texts and
//! their format are in `tests/scenarios`.

mod diff;
mod stage;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use diff::diff;
use stage::Stage;

/// Every text matches the events of its commands. `QUORATE_REWRITE=1` writes the texts again instead.
#[test]
fn texts_say_what_happens() {
    let is_rewriting = std::env::var_os("QUORATE_REWRITE").is_some();
    let mut wrong = String::new();
    let files = files();
    assert!(!files.is_empty(), "the texts are there");
    for file in files {
        let before = fs::read_to_string(&file).expect("a readable text");
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let after = play(&before, &name);
        if before == after {
            continue;
        }
        if is_rewriting {
            fs::write(&file, after).expect("a writable text");
        } else {
            let _ = write!(wrong, "\n{name}:\n{}", diff(&before, &after));
        }
    }
    assert!(wrong.is_empty(), "these texts say something else; QUORATE_REWRITE=1 writes them anew{wrong}");
}

/// Returns the text with the real events in place of the expected ones.
fn play(text: &str, name: &str) -> String {
    let mut stage = Stage::default();
    let mut played = String::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let _ = writeln!(played, "{line}");
        let Some(command) = line.strip_prefix("> ") else { continue };
        while lines.peek().is_some_and(|(_, line)| !is_of_the_writer(line)) {
            lines.next();
        }
        // If a law is broken, this shows the command.
        println!("{name}:{}: {command}", number + 1);
        match stage.obey(command) {
            Ok(happened) => played.extend(happened.iter().map(|line| format!("{line}\n"))),
            Err(error) => panic!("{name}:{}: {command}: {error}", number + 1),
        }
    }
    played
}

/// Returns true if a line was written by hand: a command, a remark or an empty line.
fn is_of_the_writer(line: &str) -> bool {
    line.starts_with('>') || line.starts_with('#') || line.is_empty()
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = fs::read_dir(folder).expect("the folder of texts");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

#[test]
fn a_difference_is_shown_line_by_line() {
    let before = "same\nold\nsame too\n";
    let after = "same\nnew\nsame too\nlast\n";
    assert_eq!(diff(before, after), "      2 - old\n      2 + new\n      4 + last\n");
}

#[test]
fn a_text_is_played_again_as_it_was_written() {
    let text = "# Two words.\n\n> cluster 3\n> quietly timeout 1\n> status\nwrong\n\n# The end.\n";
    let played = play(text, "played");
    assert!(played.contains("n1 leader in term 1"), "{played}");
    assert!(!played.contains("wrong"));
    assert_eq!(play(&played, "played"), played);
}

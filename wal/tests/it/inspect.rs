//! `wal-inspect` and the function behind it.

use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_wal::disk::{Crash, Disk, MemoryDisk};
use quorate_wal::inspect::{Condition, Detail, inspect};

use crate::craft::{PAGE, put_32, reseal_header};
use crate::golden::golden_disk;
use crate::support::*;

/// The result of inspecting a log, which must not change.
fn look(disk: &MemoryDisk, detail: Detail) -> (Condition, String) {
    let operations = disk.operations();
    let mut text = Vec::new();
    let condition = inspect(disk, Path::new("log"), detail, &mut text).unwrap();
    assert_eq!(disk.operations(), operations, "nothing was written");
    (condition, String::from_utf8(text).unwrap())
}

/// A log with a vote, whose last batch lost a sector.
fn torn() -> MemoryDisk {
    let disk = golden_disk(1, "plain");
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(6, 3, 1), state("voted")]);
    write(&mut wal, A, vec![append_sized(7, 4, 3, 1000), state("voted again")]);
    drop(wal);
    disk.crash(Crash::KeepAll);
    let start = *batch_starts(&disk.content(segment(1)).unwrap()).last().unwrap();
    disk.flip(segment(1), start as u64 + 700, 1);
    disk
}

/// A log whose durable part is damaged.
fn corrupt() -> MemoryDisk {
    let disk = golden_disk(1, "plain");
    disk.flip(segment(1), PAGE as u64 + 200, 1);
    disk
}

/// A log that lost one of two copies of a vote, and one copy of the checkpoint.
fn halved() -> MemoryDisk {
    let disk = golden_disk(1, "moved");
    let mut wal = open(&disk);
    put(&mut wal, A, vec![state("voted")]);
    wal.close().unwrap();
    let start = batch_starts(&disk.content(segment(2)).unwrap()).iter().rev().nth(1).copied().unwrap();
    disk.flip(segment(2), start as u64 + 150, 1);
    disk.flip("log/checkpoint-a", 100, 1);
    disk
}

/// `QUORATE_WAL_GOLDEN=write` writes the expected texts again.
#[test]
fn rule_39_a_log_is_described_in_full() {
    let logs = [
        ("plain", golden_disk(1, "plain"), Condition::Clean),
        ("moved", golden_disk(1, "moved"), Condition::Clean),
        ("torn", torn(), Condition::Torn),
        ("halved", halved(), Condition::Torn),
        ("corrupt", corrupt(), Condition::Corrupt),
    ];
    for (name, disk, expected) in logs {
        let (condition, text) = look(&disk, Detail::Everything);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inspect").join(format!("{name}.txt"));
        if std::env::var_os("QUORATE_WAL_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
        assert_eq!(condition, expected, "{name}");
        let opens = try_open(&disk).is_ok();
        assert_eq!(opens, condition < Condition::Corrupt, "{name}: the log judges alike");
    }
}

#[test]
fn rule_39_verify_says_the_condition_and_the_first_damage_alone() {
    assert_eq!(look(&golden_disk(1, "plain"), Detail::Condition), (Condition::Clean, "clean\n".to_owned()));
    let (_, text) = look(&corrupt(), Detail::Condition);
    let expected = "damage: the log is corrupt: stream 1, position 2, segment 1, offset 4280: the bytes are not those \
                    that were written, and later records show that they were durable\ncorrupt: the log will not open\n";
    assert_eq!(text, expected);
}

#[test]
fn rule_39_files_that_do_not_fit_are_named() {
    let missing = golden_disk(1, "moved");
    missing.remove(segment(2).as_ref()).unwrap();
    assert_eq!(look(&missing, Detail::Condition).0, Condition::Corrupt);

    let unknown = golden_disk(1, "plain");
    unknown.replace("log/notes.txt", b"mine");
    let (condition, text) = look(&unknown, Detail::Condition);
    assert_eq!(condition, Condition::Corrupt);
    assert!(text.contains("notes.txt"), "{text}");

    let newer = golden_disk(1, "plain");
    let mut bytes = newer.content(segment(1)).unwrap();
    put_32(&mut bytes, 8, 2);
    reseal_header(&mut bytes);
    newer.replace(segment(1), &bytes);
    assert_eq!(look(&newer, Detail::Condition).0, Condition::Unreadable);

    let lost = golden_disk(1, "plain");
    lost.flip("log/checkpoint-a", 50, 1);
    lost.flip("log/checkpoint-b", 50, 1);
    assert_eq!(look(&lost, Detail::Condition).0, Condition::Corrupt);
}

/// A file that is shorter than its header states lost data, whatever else it looks like.
#[test]
fn rule_39_a_segment_that_was_cut_short_is_corrupt() {
    let disk = golden_disk(1, "plain");
    let bytes = disk.content(segment(1)).unwrap();
    for end in [2 * PAGE, batch_starts(&bytes)[2] + 100, bytes.len() - 1] {
        disk.replace(segment(1), &bytes[..end]);
        let (condition, text) = look(&disk, Detail::Condition);
        assert_eq!(condition, Condition::Corrupt, "{end}: {text}");
        assert!(text.contains("its header says that it is longer"), "{text}");
        let (_folder, directory) = to_files(&disk);
        assert_eq!(run(&["--verify", directory.to_str().unwrap()]).0, Some(2));
    }
}

/// Copies a log to real files, in a node's directory.
fn to_files(disk: &MemoryDisk) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("log");
    std::fs::create_dir(&directory).unwrap();
    for name in names(disk, "") {
        let bytes = disk.content(format!("log/{name}")).unwrap();
        std::fs::write(directory.join(name), bytes).unwrap();
    }
    (folder, directory)
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wal-inspect")).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn rule_39_the_exit_code_tells_clean_torn_corrupt_and_unreadable_apart() {
    let logs = [(golden_disk(1, "plain"), 0), (torn(), 1), (halved(), 1), (corrupt(), 2)];
    for (disk, code) in &logs {
        let (folder, directory) = to_files(disk);
        let mut permissions = std::fs::metadata(directory.join("checkpoint-a")).unwrap().permissions();
        permissions.set_readonly(true);
        for file in std::fs::read_dir(&directory).unwrap() {
            std::fs::set_permissions(file.unwrap().path(), permissions.clone()).unwrap();
        }
        let (node, log) = (folder.path().to_str().unwrap(), directory.to_str().unwrap());
        let (_, text) = look(disk, Detail::Everything);
        let (_, condition) = look(disk, Detail::Condition);
        assert_eq!(run(&[log]), (Some(*code), text.clone()));
        assert_eq!(run(&[node]), (Some(*code), text), "the node's directory does as well");
        assert_eq!(run(&["--verify", log]), (Some(*code), condition));
    }
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    assert_eq!(run(&[empty]).0, Some(3));
    assert_eq!(run(&["/no/such/directory"]).0, Some(3));
    let missing = Command::new(env!("CARGO_BIN_EXE_wal-inspect")).arg("/no/such/directory").output().unwrap();
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.contains("/no/such/directory: "), "{said}");
    assert_eq!(run(&[]).0, Some(3));
    assert_eq!(run(&["--what", empty]).0, Some(3));
    assert_eq!(run(&["--help"]).0, Some(0));
}

#[test]
fn rule_39_what_is_no_file_is_neither_read_nor_waited_for() {
    for what in ["mkdir", "mkfifo"] {
        let (_folder, directory) = to_files(&golden_disk(1, "plain"));
        let segment = directory.join("segment-0000000000000001");
        std::fs::remove_file(&segment).unwrap();
        assert!(Command::new(what).arg(&segment).status().unwrap().success());
        let (code, text) = run(&["--verify", directory.to_str().unwrap()]);
        assert_eq!((code, text.contains("not a file")), (Some(3), true), "{what}: {text}");
    }
}

/// Inspection needs no lock, and does not affect a running node.
#[test]
fn rule_39_a_running_nodes_log_can_be_looked_at() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 3)]);
    assert_eq!(look(&disk, Detail::Condition).0, Condition::Clean);
    put(&mut wal, A, vec![append(4, 1, 3)]);
    assert_eq!(texts(&wal, A, 1).unwrap().len(), 6);
}

/// The newest batch of a log that was not closed may be in memory alone. Opening writes it again, and inspection says
/// so; it is no damage.
#[test]
fn rule_39_batches_that_opening_writes_again_are_named() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 3)]);
    put(&mut wal, A, vec![append(4, 1, 3)]);
    drop(wal);
    disk.crash(Crash::KeepAll);
    let batches = batch_starts(&disk.content(segment(1)).unwrap());
    let (start, end) = (batches[1], batches[1] + PAGE);
    let expected = format!(
        "in doubt: nothing shows that the batches of segment 1 from offset {start} to {end} are durable; opening the \
         log will write them again\nclean\n"
    );
    assert_eq!(look(&disk, Detail::Condition), (Condition::Clean, expected.clone()));
    assert!(look(&disk, Detail::Everything).1.ends_with(&expected));
    let (_folder, directory) = to_files(&disk);
    assert_eq!(run(&["--verify", directory.to_str().unwrap()]), (Some(0), expected));

    let mut wal = open(&disk);
    assert_eq!(names(&disk, "segment-").len(), 2, "the batch is in the next segment");
    assert_eq!(texts(&wal, A, 1).unwrap().len(), 6);
    wal.settle(true).unwrap();
    wal.close().unwrap();
    assert_eq!(look(&disk, Detail::Condition), (Condition::Clean, "clean\n".to_owned()));
}

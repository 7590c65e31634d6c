//! The small programs `counter`, `lock` and `cache`, run as a user runs them.

use std::process::Command;

/// Runs a program to its end, and returns what it printed.
fn said(program: &str, arguments: &[&str], code: i32) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

/// Six clients, a killed leader, and increments that are repeated: each counts once.
#[test]
fn each_acknowledged_increment_is_counted_once_on_either_log() {
    for engine in ["raft", "paxos"] {
        let said = said(env!("CARGO_BIN_EXE_counter"), &["--engine", engine, "--increments", "50"], 0);
        assert!(said.contains("150 increments are acknowledged. Node "), "{said}");
        assert!(said.ends_with("The counter stands at 300.\n"), "{said}");
    }
    said(env!("CARGO_BIN_EXE_counter"), &["--increments", "0"], 2);
}

/// The lock passes on once the session of its owner has ended, and the late write of that owner is refused.
#[test]
fn a_stale_owner_of_the_lock_is_refused() {
    let said = said(env!("CARGO_BIN_EXE_lock"), &[], 0);
    let writes: Vec<&str> = said.lines().filter(|line| line.contains(" writes ")).collect();
    let ends = [("Ann", "taken."), ("Bob", "taken."), ("Ann", "refused.")];
    assert_eq!(writes.len(), ends.len(), "{said}");
    for (write, (who, end)) in writes.iter().zip(ends) {
        assert!(write.starts_with(who) && write.ends_with(end), "{said}");
    }
}

/// This is what tokens are for.
#[test]
fn a_lock_without_fencing_is_none() {
    let said = said(env!("CARGO_BIN_EXE_lock"), &["--without-fencing"], 1);
    assert!(said.contains("lock: Bob had the lock, and his write is lost"), "{said}");
}

/// The table shows caches outside of the zone as they were, and the moved copies as those of the new cache.
#[test]
fn a_cache_that_joins_gets_its_copies_and_no_other_copy_moves() {
    let said = said(env!("CARGO_BIN_EXE_cache"), &["--keys", "20000"], 0);
    let rows: Vec<Vec<&str>> =
        said.lines().filter(|line| line.starts_with("cache-")).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 7, "{said}");
    for row in &rows {
        assert_eq!(row[1] != "north", row[4] == row[5], "{row:?} of {said}");
    }
    let copies = |column: usize| rows.iter().map(|row| row[column].parse::<u64>().unwrap()).sum::<u64>();
    assert_eq!((copies(4), copies(5)), (60_000, 60_000), "{said}");
    assert!(said.contains(&format!("\n{} copies moved, all to cache-7", rows[6][5])), "{said}");
}

#[test]
fn a_weight_that_is_none_is_refused() {
    for weight in ["--weight=0", "--weight=-1", "--weight=many"] {
        said(env!("CARGO_BIN_EXE_cache"), &[weight], 2);
    }
}

//! Rules on the content of a log after a crash, and on refusals.

use std::io::ErrorKind;

use quorate_protocol::{LoadFailure, LoadRange, Random};
use quorate_wal::disk::{Crash, Disk, DiskOperation, MemoryDisk, Sector};
use quorate_wal::{OpenError, Wal};

use crate::craft::{PAGE, records};
use crate::support::*;

/// In a record: its length, kind, stream, LSN, position, mark, CRCs, padding, and payload.
const PLACES: [usize; 13] = [0, 4, 9, 17, 30, 38, 41, 46, 50, 55, 56, 200, 1700];

/// Flips bits in the header, the payload and the padding of every record but those of the last batch, over several
/// segments.
#[test]
fn rule_09_and_10_a_flipped_bit_in_any_earlier_batch_is_corruption_that_is_named() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    for index in 1..40 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
    }
    wal.close().unwrap();
    let segments = names(&disk, "segment-").len() as u64;
    assert!(segments > 2);
    let mut flips = 0;
    for id in 1..=segments {
        let bytes = disk.content(segment(id)).unwrap();
        let starts = batch_starts(&bytes);
        let batches = if id == segments { &starts[..starts.len() - 1] } else { &starts[..] };
        let within = |record: usize| PLACES.map(|place| (record + place, place));
        let places = batches.iter().flat_map(|start| {
            let end = start + PAGE;
            records(&bytes, *start).into_iter().flat_map(within).filter(move |(offset, _)| *offset < end)
        });
        for (offset, place) in places {
            let damaged = disk.fork();
            damaged.crash(Crash::KeepAll);
            damaged.flip(segment(id), offset as u64, 7);
            let operations = damaged.operations();
            let error = try_open(&damaged).map(|_| ()).expect_err("damage");
            let OpenError::Corrupt { stream, segment, offset: at, .. } = &error else { panic!("{error}") };
            assert_eq!((*segment, *at / PAGE as u64), (id, (offset / PAGE) as u64), "{error}");
            // If kind or stream itself is damaged and no neighbour has the stream, it cannot be named.
            assert!(*stream == A || matches!(place, 4 | 9), "{error}");
            let text = error.to_string();
            assert!(["stream ", "position", "segment", "offset"].iter().all(|word| text.contains(word)), "{text}");
            assert_eq!(damaged.operations(), operations, "nothing was written");
            flips += 1;
        }
    }
    assert!(flips > 500);
}

#[test]
fn rule_10_of_two_batches_in_flight_the_first_may_be_lost_alone() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1)]);
    write(&mut wal, A, vec![append(2, 1, 1)]);
    write(&mut wal, A, vec![append(3, 1, 1)]);
    // One fsync was to cover both; the disk kept the second one only.
    let starts = batch_starts(&disk.content(segment(1)).unwrap());
    let lost = starts[1] as u64 / 512..starts[2] as u64 / 512;
    disk.tear(|_, sector| if lost.contains(&sector) { Sector::Drop } else { Sector::Keep });
    drop(wal);
    let (wal, report) = try_open(&disk).unwrap();
    assert_eq!(texts(&wal, A, 1).unwrap(), ["1@1"]);
    assert_eq!(report.cut.unwrap().offset, starts[1] as u64);
}

#[test]
fn rule_11_the_last_batch_is_torn_unless_something_shows_that_it_was_durable() {
    for is_shown in [false, true] {
        let disk = MemoryDisk::new();
        let mut wal = open(&disk);
        write(&mut wal, A, vec![append(1, 1, 1)]);
        wal.sync().unwrap();
        wal.settle(is_shown).unwrap();
        drop(wal);
        disk.crash(Crash::KeepAll);
        disk.flip(segment(1), PAGE as u64 + 200, 0);
        match try_open(&disk) {
            Ok((wal, report)) => {
                assert!(!is_shown);
                assert!(report.cut.is_some());
                assert_eq!(texts(&wal, A, 1), Err(LoadFailure::Compacted));
            }
            Err(error) => assert!(is_shown && matches!(error, OpenError::Corrupt { .. }), "{error}"),
        }
    }
}

/// Any subset of the unsynced sectors reaches the disk, and some as garbage.
#[test]
fn rule_13_a_torn_tail_of_any_kind_is_cut_and_nothing_acknowledged_is_lost() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append_sized(1, 1, 5, 700)]);
    for index in 6..12 {
        write(&mut wal, A, vec![append_sized(index, 2, 1, 2500)]);
    }
    for seed in 0..cases(1500) {
        let torn = disk.fork();
        let mut random = Random::new(seed);
        let odds = random.between(1, 4);
        torn.tear(|_, _| match random.between(0, 2 + odds) {
            0 => Sector::Drop,
            1 => Sector::Garbage,
            _ => Sector::Keep,
        });
        let (wal, _) = try_open(&torn).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = texts(&wal, A, 1).unwrap();
        assert!(found.len() >= 5, "seed {seed}");
        for (index, text) in (1..).zip(found) {
            let expected = payload(index, if index < 6 { 1 } else { 2 }, if index < 6 { 700 } else { 2500 });
            assert_eq!(text.as_bytes(), expected, "seed {seed}");
        }
    }
}

#[test]
fn rule_14_opening_may_be_cut_short_anywhere_and_cut_bytes_stay_away() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1)]);
    write(&mut wal, A, vec![append(2, 1, 1), state("t2")]);
    write(&mut wal, A, vec![append(3, 1, 1)]);
    let starts = batch_starts(&disk.content(segment(1)).unwrap());
    disk.tear(|_, sector| if sector == starts[1] as u64 / 512 { Sector::Drop } else { Sector::Keep });
    drop(wal);
    let steps = {
        let whole = disk.fork();
        let before = whole.operations();
        drop(try_open(&whole).unwrap());
        whole.operations() - before
    };
    assert!(steps > 8, "it syncs, keeps the cut, writes checkpoints, clears");
    for step in 0..steps {
        for seed in 0..20 {
            let again = disk.fork();
            again.power_off_after(step);
            let _ = try_open(&again);
            again.crash(Crash::Seeded(seed));
            let (mut wal, _) = try_open(&again).unwrap_or_else(|error| panic!("step {step}, seed {seed}: {error}"));
            assert_eq!(texts(&wal, A, 1).unwrap(), ["1@1"], "step {step}, seed {seed}");
            assert_eq!(state_of(&wal, A).as_deref(), Some("t2"));
            // A batch of the same size as the cut one would join what was behind it.
            put(&mut wal, A, vec![append(2, 5, 1), state("t5")]);
            drop(wal);
            again.crash(Crash::Seeded(seed));
            let (wal, report) = try_open(&again).unwrap();
            assert_eq!(report.cut, None);
            assert_eq!(texts(&wal, A, 1).unwrap(), ["1@1", "2@5"]);
        }
    }
}

#[test]
fn rule_14_what_was_cut_is_overwritten_durably() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1)]);
    for index in 2..6 {
        write(&mut wal, A, vec![append(index, 1, 1)]);
    }
    let start = batch_starts(&disk.content(segment(1)).unwrap())[1];
    disk.tear(|_, sector| if sector == start as u64 / 512 { Sector::Garbage } else { Sector::Keep });
    drop(wal);
    assert!(try_open(&disk).unwrap().1.cut.is_some());
    disk.crash(Crash::LoseUnsynced);
    assert!(disk.content(segment(1)).unwrap()[start..].iter().all(|byte| *byte == 0));
}

#[test]
fn rule_15_cut_bytes_are_kept_in_few_small_files() {
    let disk = MemoryDisk::new();
    for round in 0..4 {
        let mut wal = open(&disk);
        put(&mut wal, A, vec![append(round * 2 + 1, 1, 1)]);
        write(&mut wal, A, vec![append_sized(round * 2 + 2, 1, 8, 2500)]);
        let bytes = disk.content(format!("log/{}", names(&disk, "segment-").pop().unwrap())).unwrap();
        let last = *batch_starts(&bytes).last().unwrap();
        drop(wal);
        disk.tear(|_, sector| if sector == last as u64 / 512 + 2 { Sector::Garbage } else { Sector::Keep });
        let (mut wal, report) = try_open(&disk).unwrap();
        let cut = report.cut.unwrap();
        assert_eq!(cut.offset, last as u64);
        let kept = names(&disk, "cut-").pop().unwrap();
        let kept = disk.content(format!("log/{kept}")).unwrap();
        assert_eq!(kept.len() as u64, cut.bytes.min(small().cut_bytes_max));
        assert_eq!(kept[..512], bytes[last..last + 512]);
        put(&mut wal, A, vec![append(round * 2 + 2, 1, 1)]);
    }
    assert_eq!(names(&disk, "cut-").len(), small().cut_files_max);
}

#[test]
fn rule_16_a_refusal_changes_nothing_and_is_repeated() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1)]);
    wal.close().unwrap();
    disk.flip(segment(1), PAGE as u64 + 150, 1);
    let history = disk.history();
    for _ in 0..3 {
        assert!(matches!(try_open(&disk), Err(OpenError::Corrupt { .. })));
    }
    assert_eq!(disk.history(), history);
}

/// A log of several segments, closed.
fn long_log() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    for index in 1..60 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
    }
    wal.close().unwrap();
    assert!(names(&disk, "segment-").len() >= 4);
    disk
}

#[test]
fn rule_17_missing_doubled_and_unknown_files_are_refused_and_leftovers_removed() {
    let missing = long_log();
    missing.remove(segment(2).as_ref()).unwrap();
    assert!(matches!(try_open(&missing), Err(OpenError::MissingSegment { segment: 2 })));

    let doubled = long_log();
    let mut bytes = doubled.content(segment(3)).unwrap();
    let second = doubled.content(segment(2)).unwrap();
    bytes[64..72].copy_from_slice(&second[64..72]);
    let crc = crc32c::crc32c(&bytes[..88]);
    bytes[88..92].copy_from_slice(&crc.to_le_bytes());
    doubled.replace(segment(3), &bytes);
    assert!(matches!(try_open(&doubled), Err(OpenError::DamagedHeader { field: "first LSN", .. })));

    let unknown = long_log();
    unknown.replace("log/notes.txt", b"mine");
    assert!(matches!(try_open(&unknown), Err(OpenError::UnknownFile { .. })));

    let leftover = long_log();
    leftover.replace("log/spare.tmp", &[0; 100]);
    assert!(try_open(&leftover).is_ok());
    assert_eq!(names(&leftover, "spare.tmp"), [""; 0]);
}

#[test]
fn rule_18_a_lost_last_segment_is_noticed() {
    let disk = long_log();
    let last = names(&disk, "segment-").len() as u64;
    disk.remove(segment(last).as_ref()).unwrap();
    assert!(matches!(try_open(&disk), Err(OpenError::MissingSegment { segment }) if segment == last));
}

#[test]
fn rule_19_what_rots_after_opening_is_noticed_when_it_is_read() {
    let disk = long_log();
    let wal = open(&disk);
    let bytes = disk.content(segment(1)).unwrap();
    disk.flip(segment(1), batch_starts(&bytes)[2] as u64 + 300, 6);
    assert_eq!(texts(&wal, A, 3), Err(LoadFailure::Damaged));
    assert_eq!(texts(&wal, A, 4).unwrap().len(), 56);
}

#[test]
fn rule_19_a_journal_record_that_rots_after_opening_is_noticed_when_it_is_read() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![journal(1, "one"), journal(2, "two")]);
    let bytes = disk.content(segment(1)).unwrap();
    let second = records(&bytes, PAGE)[2] as u64;
    disk.flip(segment(1), second + 57, 0);
    let load = |keys| wal.reader().load(A, &LoadRange::Keys { range: keys });
    assert_eq!(load(2..3), Err(LoadFailure::Damaged));
    assert!(load(1..2).is_ok());
}

#[test]
fn rule_29_state_survives_the_damage_of_any_one_page_and_is_never_made_up() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1), state("t1")]);
    put(&mut wal, A, vec![state("t2")]);
    put(&mut wal, B, vec![state("b1")]);
    wal.close().unwrap();
    let bytes = disk.content(segment(1)).unwrap();
    let starts = batch_starts(&bytes);
    let damage = |pages: &[usize]| {
        let damaged = disk.fork();
        damaged.crash(Crash::KeepAll);
        let mut bytes = bytes.clone();
        for page in pages {
            bytes[*page..page + PAGE].iter_mut().for_each(|byte| *byte ^= 0x5a);
        }
        damaged.replace(segment(1), &bytes);
        damaged
    };
    for page in (starts[1]..starts[3]).step_by(PAGE) {
        let (wal, report) = try_open(&damage(&[page])).unwrap_or_else(|error| panic!("page {page}: {error}"));
        assert_eq!(report.repaired_batches, 1);
        assert_eq!(state_of(&wal, A).as_deref(), Some("t2"), "page {page}");
        assert_eq!(state_of(&wal, B).as_deref(), Some("b1"), "page {page}");
        assert_eq!(texts(&wal, A, 1).unwrap(), ["1@1"]);
    }
    assert!(matches!(try_open(&damage(&[starts[1], starts[1] + PAGE])), Err(OpenError::Corrupt { .. })));
    for copy in ["checkpoint-a", "checkpoint-b"] {
        let damaged = disk.fork();
        damaged.crash(Crash::KeepAll);
        damaged.flip(format!("log/{copy}"), 40, 2);
        let (wal, _) = try_open(&damaged).unwrap();
        assert_eq!(state_of(&wal, A).as_deref(), Some("t2"));
        drop(wal);
        // Opening made the copy whole again.
        damaged.flip(if copy == "checkpoint-a" { "log/checkpoint-b" } else { "log/checkpoint-a" }, 40, 2);
        assert!(try_open(&damaged).is_ok());
    }
    disk.flip("log/checkpoint-a", 40, 2);
    disk.flip("log/checkpoint-b", 41, 2);
    assert!(matches!(try_open(&disk), Err(OpenError::CheckpointsLost)));
}

#[test]
fn rule_29_state_outlives_its_segment_in_both_copies_of_the_checkpoint() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, B, vec![state("b1")]);
    let mut index = 1;
    while wal.metrics().freed_segments < 2 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
        put(&mut wal, A, vec![compact(index, 1)]);
        index += 1;
    }
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    for copy in ["log/checkpoint-a", "log/checkpoint-b"] {
        let damaged = disk.fork();
        damaged.flip(copy, 50, 0);
        assert_eq!(state_of(&open(&damaged), B).as_deref(), Some("b1"));
    }
}

#[test]
fn rule_29_a_state_record_is_adopted_from_a_batch_that_is_cut() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![state("t1")]);
    write(&mut wal, A, vec![append_sized(1, 2, 3, 3000), state("t2")]);
    let last = *batch_starts(&disk.content(segment(1)).unwrap()).last().unwrap();
    disk.tear(|_, sector| if sector == last as u64 / 512 { Sector::Garbage } else { Sector::Keep });
    drop(wal);
    let (mut wal, report) = try_open(&disk).unwrap();
    assert_eq!((report.adopted_states, state_of(&wal, A).as_deref()), (1, Some("t2")));
    assert_eq!(texts(&wal, A, 1), Err(LoadFailure::Compacted));
    // The later record wins, though the adopted record's LSN was high.
    put(&mut wal, A, vec![state("t3")]);
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(state_of(&open(&disk), A).as_deref(), Some("t3"));
}

/// A sync fails, and the process starts again on the same machine: the data it reads is in memory alone. Once the log
/// was opened with that data, the data must not be gone when the power goes.
#[test]
fn rule_22_what_was_found_after_a_failed_sync_stays_when_the_power_goes() {
    for is_closed in [false, true] {
        let disk = MemoryDisk::new();
        let mut wal = open(&disk);
        put(&mut wal, A, vec![append(1, 1, 1)]);
        write(&mut wal, A, vec![append(2, 1, 1), state("t1"), journal(1, "one")]);
        disk.fail(0, ErrorKind::Other);
        wal.sync().unwrap_err();
        drop(wal);
        let mut wal = open(&disk);
        assert_eq!(texts(&wal, A, 1).unwrap(), ["1@1", "2@1"]);
        if is_closed {
            put(&mut wal, A, vec![append(3, 1, 1)]);
            wal.close().unwrap();
        } else {
            drop(wal);
        }
        disk.crash(Crash::LoseUnsynced);
        let wal = open(&disk);
        assert_eq!(texts(&wal, A, 2).unwrap()[0], "2@1");
        assert_eq!((state_of(&wal, A).as_deref(), keys(&wal, A).len()), (Some("t1"), 1));
    }
}

/// The same, and the power goes at each operation of the opening in between: data that was durable before stays,
/// whether or not anything had proved it.
#[test]
fn rule_22_what_is_in_doubt_is_written_anew_without_touching_the_old() {
    for step in 0.. {
        let disk = MemoryDisk::new();
        let mut wal = open(&disk);
        put(&mut wal, A, vec![append(1, 1, 2), state("t1")]);
        drop(wal);
        let before = disk.operations();
        disk.power_off_after(step);
        let _ = try_open(&disk);
        let took = disk.operations() - before;
        for seed in 0..20 {
            let crashed = disk.fork();
            crashed.crash(Crash::Seeded(seed));
            let wal = try_open(&crashed).unwrap_or_else(|error| panic!("step {step}, seed {seed}: {error}")).0;
            assert_eq!(texts(&wal, A, 1).unwrap(), ["1@1", "2@1"], "step {step}, seed {seed}");
            assert_eq!(state_of(&wal, A).as_deref(), Some("t1"));
        }
        if took < step {
            assert!(step > 10, "it is written anew, and checkpoints follow");
            break;
        }
    }
}

/// A process ends when a new segment has its name and the directory was not synced; the power goes while the next one
/// opens the log.
#[test]
fn rule_20_names_are_durable_before_a_checkpoint_speaks_of_them() {
    let full = MemoryDisk::new();
    let mut wal = open(&full);
    for index in 1..15 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
    }
    wal.close().unwrap();
    let rotate = |disk: &MemoryDisk| open(disk).write(&[(A, vec![append_sized(15, 1, 2, 3000)])]).is_ok();
    let steps = {
        let disk = full.fork();
        let before = disk.history().len();
        assert!(rotate(&disk) && names(&disk, "segment-").len() == 2);
        disk.history().split_off(before)
    };
    let mut ended = 0;
    for step in (0..steps.len()).filter(|step| steps[*step] == DiskOperation::SyncDir) {
        for power in 0..12 {
            let disk = full.fork();
            disk.fail(step as u64, ErrorKind::Other);
            ended += u64::from(
                try_open(&disk)
                    .is_ok_and(|(mut wal, _)| wal.write(&[(A, vec![append_sized(15, 1, 2, 3000)])]).is_err()),
            );
            disk.power_off_after(power);
            let _ = try_open(&disk);
            disk.crash(Crash::LoseUnsynced);
            let (wal, _) = try_open(&disk).unwrap_or_else(|error| panic!("step {step}, power {power}: {error}"));
            assert_eq!(texts(&wal, A, 1).unwrap().len(), 14);
        }
    }
    assert!(ended > 10);
}

/// An entry shares a span of the log with a batch that lost one of its two copies of a vote.
#[test]
fn rule_29_entries_around_a_repaired_batch_are_read() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1)]);
    put(&mut wal, B, vec![state("b1")]);
    put(&mut wal, A, vec![append(2, 1, 1)]);
    wal.close().unwrap();
    let sound = disk.content(segment(1)).unwrap();
    let batch = batch_starts(&sound)[1];
    for page in [batch, batch + PAGE] {
        for damage in [0, 0x5a] {
            let mut bytes = sound.clone();
            bytes[page..page + PAGE].fill(damage);
            let damaged = disk.fork();
            damaged.crash(Crash::KeepAll);
            damaged.replace(segment(1), &bytes);
            let (wal, report) = try_open(&damaged).unwrap();
            assert_eq!(report.repaired_batches, 1);
            assert_eq!(texts(&wal, A, 1).unwrap(), ["1@1", "2@1"]);
        }
    }
}

/// The damaged record that opens a batch has zeros in it, as a gap has; the entries behind it in the same page are
/// read.
#[test]
fn rule_29_entries_of_a_repaired_batch_are_read() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1)]);
    put(&mut wal, A, vec![append(2, 1, 2), state("t1"), append(4, 1, 1)]);
    put(&mut wal, A, vec![append(5, 1, 1)]);
    wal.close().unwrap();
    let batch = batch_starts(&disk.content(segment(1)).unwrap())[1];
    disk.flip(segment(1), batch as u64 + 17, 3);
    let (wal, report) = try_open(&disk).unwrap();
    assert_eq!(report.repaired_batches, 1);
    assert_eq!(texts(&wal, A, 1).unwrap().len(), 5);
}

/// After a cut LSNs jump, and the first batch behind the jump is a vote.
#[test]
fn rule_29_a_vote_behind_a_jump_of_lsns_survives_the_damage_of_any_one_page() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1)]);
    wal.settle(true).unwrap();
    write(&mut wal, A, vec![append_sized(2, 1, 3, 3000)]);
    let torn = *batch_starts(&disk.content(segment(1)).unwrap()).last().unwrap();
    disk.tear(|_, sector| if sector == torn as u64 / 512 + 9 { Sector::Garbage } else { Sector::Keep });
    drop(wal);
    let (mut wal, report) = try_open(&disk).unwrap();
    assert!(report.cut.is_some());
    put(&mut wal, A, vec![state("t1")]);
    put(&mut wal, A, vec![append(2, 1, 1)]);
    wal.close().unwrap();
    survives_any_page(&disk, torn, "t1");
}

/// A write that went elsewhere leaves the marker that it was to replace. The vote behind it lost nothing, and follows
/// another batch.
#[test]
fn rule_10_a_vote_behind_a_lost_write_does_not_stand_in_for_it() {
    for seed in 0..32 {
        let disk = MemoryDisk::new();
        let mut wal = open(&disk);
        put(&mut wal, A, vec![append(1, 1, 1)]);
        wal.settle(true).unwrap();
        disk.misdirect(Some(seed));
        put(&mut wal, A, vec![append(2, 1, 1)]);
        put(&mut wal, A, vec![state("t1")]);
        wal.close().unwrap();
        // The write that went elsewhere may have hit a header.
        match try_open(&disk) {
            Err(OpenError::Corrupt { .. } | OpenError::DamagedHeader { .. }) => {}
            Err(error) => panic!("seed {seed}: {error}"),
            Ok((wal, _)) => panic!("seed {seed}: entry 2 is lost, and {:?} is there", texts(&wal, A, 1)),
        }
    }
}

/// Only the checkpoint shows that the last vote was durable: no batch follows it.
#[test]
fn rule_29_a_vote_at_the_very_end_survives_the_damage_of_any_one_page() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    let mut index = 1;
    while names(&disk, "segment-").len() < 2 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
        index += 1;
    }
    for index in index..index + 12 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
    }
    put(&mut wal, A, vec![state("t1")]);
    wal.close().unwrap();
    let starts = batch_starts(&disk.content(segment(2)).unwrap());
    let last = *starts.last().unwrap();
    assert_eq!(last + 2 * PAGE, 64 << 10, "the vote fills the segment");
    for page in [last, last + PAGE] {
        let damaged = disk.fork();
        damaged.crash(Crash::KeepAll);
        let mut bytes = damaged.content(segment(2)).unwrap();
        bytes[page..page + PAGE].iter_mut().for_each(|byte| *byte ^= 0x5a);
        damaged.replace(segment(2), &bytes);
        let (mut wal, report) = try_open(&damaged).unwrap_or_else(|error| panic!("page {page}: {error}"));
        assert_eq!((report.repaired_batches, state_of(&wal, A).as_deref()), (1, Some("t1")));
        put(&mut wal, A, vec![state("t2")]);
        drop(wal);
        damaged.crash(Crash::LoseUnsynced);
        assert_eq!(state_of(&open(&damaged), A).as_deref(), Some("t2"));
    }
}

/// Both copies stand behind both originals: the older one's copy must not be taken for newer than the newer one's
/// original.
#[test]
fn rule_29_of_two_votes_in_one_batch_the_later_counts_whatever_copy_is_damaged() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![state("t1"), state("t2")]);
    put(&mut wal, B, vec![state("b")]);
    wal.close().unwrap();
    let bytes = disk.content(segment(1)).unwrap();
    let batch = records(&bytes, PAGE);
    assert_eq!(batch.len(), 6);
    for record in &batch {
        let damaged = disk.fork();
        damaged.flip(segment(1), *record as u64 + 9, 2);
        assert_eq!(state_of(&open(&damaged), A).as_deref(), Some("t2"), "damage at {record}");
    }
}

/// A write that landed elsewhere hits any page of a vote, and is missing at its own place.
#[test]
fn rule_29_a_vote_is_not_repaired_into_a_log_that_lacks_the_batch_behind_it() {
    for is_sealed in [false, true] {
        let disk = MemoryDisk::new();
        let mut wal = open(&disk);
        put(&mut wal, A, vec![state("t1")]);
        put(&mut wal, A, vec![append(1, 1, 1)]);
        let mut index = 2;
        while index == 2 || is_sealed && names(&disk, "segment-").len() < 2 {
            put(&mut wal, B, vec![append_sized(index - 1, 1, 1, 3000)]);
            index += 1;
        }
        wal.close().unwrap();
        let bytes = disk.content(segment(1)).unwrap();
        let starts = batch_starts(&bytes);
        assert_eq!(starts[..2], [PAGE, 3 * PAGE]);
        for page in [PAGE, 2 * PAGE] {
            let damaged = disk.fork();
            let mut bytes = bytes.clone();
            bytes[3 * PAGE..4 * PAGE].fill(0);
            bytes[page..page + PAGE].iter_mut().for_each(|byte| *byte ^= 0x5a);
            damaged.crash(Crash::KeepAll);
            damaged.replace(segment(1), &bytes);
            let outcome = try_open(&damaged).map(|(_, report)| report);
            assert!(matches!(outcome, Err(OpenError::Corrupt { segment: 1, .. })), "page {page}: {outcome:?}");
        }
    }
}

/// A log after a power cut, of which one batch landed at a wrong place on the disk and was acknowledged, with this
/// number of batches behind it. Returns the number of entries written, and the number found unless the log is refused.
fn landed_elsewhere(seed: u64, behind: u64) -> (u64, Option<usize>) {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    for index in 1..8 {
        put(&mut wal, A, vec![append(index, 1, 1)]);
    }
    disk.misdirect(Some(seed));
    for index in 8..=8 + behind {
        put(&mut wal, A, vec![append(index, 1, 1)]);
    }
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    let operations = disk.operations();
    let found = try_open(&disk).ok().map(|(wal, _)| texts(&wal, A, 1).map_or(0, |texts| texts.len()));
    assert!(found.is_some() || disk.operations() == operations, "a refusal changes nothing");
    (8 + behind, found)
}

#[test]
fn rule_10_a_batch_that_landed_elsewhere_is_noticed_once_a_later_one_is_durable() {
    for (seed, behind) in (0..200).zip([1, 2, 3].into_iter().cycle()) {
        let (written, found) = landed_elsewhere(seed, behind);
        // Some land at their own place by chance.
        assert!(found.is_none_or(|found| found as u64 == written), "seed {seed}: {found:?} of {written} are found");
    }
}

/// The gap that rule 12 will close, which is not kept yet: only the newest batch itself shows that it was durable. If
/// it landed elsewhere, this looks like a torn tail. It is lost, and the data it overwrote may be lost with it: only
/// the newest batches, and never others.
#[test]
fn rule_11_without_rule_12_the_newest_batch_is_lost_silently_where_it_landed_elsewhere() {
    let outcomes: Vec<_> = (0..400).map(|seed| landed_elsewhere(seed, 0)).collect();
    assert!(outcomes.iter().all(|(written, found)| found.is_none_or(|found| found as u64 <= *written)));
    let count = |wanted: Option<usize>| outcomes.iter().filter(|(_, found)| *found == wanted).count();
    assert!(count(Some(7)) > 0, "lost alone: {outcomes:?}");
    assert!(count(None) > 0, "it overwrote what a later batch knew to be durable: {outcomes:?}");
}

/// Damages each page of the batch at `start` in turn. The batch holds a vote and nothing else.
fn survives_any_page(disk: &MemoryDisk, start: usize, vote: &str) {
    for page in [start, start + PAGE] {
        let damaged = disk.fork();
        damaged.crash(Crash::KeepAll);
        let mut bytes = damaged.content(segment(1)).unwrap();
        bytes[page..page + PAGE].iter_mut().for_each(|byte| *byte ^= 0x5a);
        damaged.replace(segment(1), &bytes);
        let (wal, report) = try_open(&damaged).unwrap_or_else(|error| panic!("page {page}: {error}"));
        assert_eq!((report.repaired_batches, state_of(&wal, A).as_deref()), (1, Some(vote)));
    }
}

#[test]
fn rule_36_a_second_opener_is_told_that_the_log_is_locked() {
    let disk = MemoryDisk::new();
    let wal = open(&disk);
    assert!(matches!(try_open(&disk), Err(OpenError::Locked)));
    drop(wal);
    assert!(try_open(&disk).is_ok());
}

#[test]
fn rule_37_creation_is_atomic() {
    let steps = {
        let disk = MemoryDisk::new();
        drop(open(&disk));
        disk.operations()
    };
    for step in 0..=steps {
        for crash in [Crash::LoseUnsynced, Crash::KeepAll, Crash::Seeded(step)] {
            let disk = MemoryDisk::new();
            disk.power_off_after(step);
            let _ = try_open(&disk);
            disk.crash(crash);
            let (mut wal, _) = try_open(&disk).unwrap_or_else(|error| panic!("step {step}, {crash:?}: {error}"));
            put(&mut wal, A, vec![append(1, 1, 1)]);
            drop(wal);
            disk.crash(Crash::LoseUnsynced);
            assert_eq!(texts(&open(&disk), A, 1).unwrap(), ["1@1"]);
        }
    }
}

#[test]
fn a_log_whose_directory_lost_its_checkpoints_is_not_made_anew() {
    let disk = long_log();
    disk.remove("log/checkpoint-a".as_ref()).unwrap();
    disk.remove("log/checkpoint-b".as_ref()).unwrap();
    assert!(matches!(try_open(&disk), Err(OpenError::CheckpointsLost)));
}

/// A segment has its full size before it has its name: no crash makes it shorter, so the missing part was there. It is
/// refused even if all batches are there, and if a batch is torn as if it had been under way.
#[test]
fn rule_10_a_segment_shorter_than_its_header_says_is_corruption() {
    for is_closed in [false, true] {
        let disk = MemoryDisk::new();
        let mut wal = open(&disk);
        for index in 1..=5 {
            put(&mut wal, A, vec![append(index, 1, 1)]);
        }
        write(&mut wal, A, vec![append(6, 1, 1)]);
        if is_closed {
            wal.close().unwrap();
        } else {
            drop(wal);
        }
        disk.crash(Crash::KeepAll);
        let bytes = disk.content(segment(1)).unwrap();
        let starts = batch_starts(&bytes);
        let ends = starts.iter().flat_map(|start| [*start, start + 180, start + PAGE]);
        for end in ends.chain([PAGE, bytes.len() - PAGE, bytes.len() - 1]) {
            let cut = disk.fork();
            cut.replace(segment(1), &bytes[..end]);
            let operations = cut.operations();
            let refusal = try_open(&cut).map(|_| ()).unwrap_err();
            let OpenError::Corrupt { segment: 1, offset, .. } = refusal else { panic!("{end}: {refusal}") };
            assert_eq!(offset, end as u64);
            assert_eq!(cut.operations(), operations, "nothing was written");
        }
    }
}

/// A vote from a torn tail is stored in the checkpoint alone. Older copies in place of both would undo it unnoticed if
/// later batches did not state a newer generation.
#[test]
fn rule_29_two_older_copies_of_the_checkpoint_are_noticed() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1), state("t1")]);
    wal.close().unwrap();
    let mut wal = open(&disk);
    let older = disk.fork();
    write(&mut wal, A, vec![append_sized(2, 2, 3, 3000), state("t2")]);
    let last = *batch_starts(&disk.content(segment(1)).unwrap()).last().unwrap();
    disk.tear(|_, sector| if sector == last as u64 / 512 { Sector::Garbage } else { Sector::Keep });
    drop(wal);
    let (mut wal, report) = try_open(&disk).unwrap();
    assert_eq!((report.adopted_states, state_of(&wal, A).as_deref()), (1, Some("t2")));
    put(&mut wal, B, vec![append(1, 1, 1)]);
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    let copies = ["log/checkpoint-a", "log/checkpoint-b"];
    for copy in copies {
        // One of them is repaired by the other.
        let disk = disk.fork();
        disk.restore(copy, &older);
        assert_eq!(state_of(&open(&disk), A).as_deref(), Some("t2"), "{copy}");
    }
    for lost in [None, Some(0), Some(1)] {
        let disk = disk.fork();
        for copy in copies {
            disk.restore(copy, &older);
        }
        if let Some(lost) = lost {
            disk.lose(copies[lost]);
        }
        let operations = disk.operations();
        let refusal = try_open(&disk).map(|_| ()).unwrap_err();
        assert!(matches!(refusal, OpenError::CheckpointOutdated { found, known } if found < known), "{refusal}");
        assert_eq!(disk.operations(), operations, "nothing was written");
    }
}

#[test]
fn a_log_that_was_there_is_not_made_anew() {
    let disk = MemoryDisk::new();
    assert!(matches!(Wal::open_existing(disk.clone(), small(), identity()), Err(OpenError::Missing { .. })));
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1)]);
    drop(wal);
    let (wal, report) = Wal::open_existing(disk.clone(), small(), identity()).unwrap();
    assert_eq!((texts(&wal, A, 1).unwrap().len(), report.is_new), (1, false));
    drop(wal);
    for what in ["log", "log/checkpoint-a and all"] {
        let lost = disk.fork();
        if what == "log" {
            lost.lose("log");
        } else {
            for name in names(&lost, "") {
                lost.lose(format!("log/{name}"));
            }
        }
        let operations = lost.operations();
        let refusal = Wal::open_existing(lost.clone(), small(), identity()).map(|_| ()).unwrap_err();
        assert!(matches!(refusal, OpenError::Missing { .. } | OpenError::CheckpointsLost), "{what}: {refusal}");
        assert_eq!(lost.operations(), operations, "nothing was made");
    }
}

/// If room runs out while a log is created, a tail is kept aside or batches are written again, no half-made file is
/// left.
#[test]
fn rule_23_opening_without_room_leaves_nothing_half_made() {
    let used = MemoryDisk::new();
    let mut wal = open(&used);
    put(&mut wal, A, vec![append(1, 1, 1), state("t1")]);
    write(&mut wal, A, vec![append_sized(2, 1, 9, 2500)]);
    drop(wal);
    let torn = used.fork();
    let last = *batch_starts(&torn.content(segment(1)).unwrap()).last().unwrap();
    torn.tear(|_, sector| if sector == last as u64 / 512 + 3 { Sector::Garbage } else { Sector::Keep });
    used.crash(Crash::Process);
    let (mut opened, mut refused) = (0, 0);
    for disk in [MemoryDisk::new(), torn, used] {
        for room in 0..35 {
            let disk = disk.fork();
            let before = disk.used();
            disk.set_capacity(Some(before + room * 2048));
            match try_open(&disk) {
                Ok(_) => opened += 1,
                Err(OpenError::DiskFull { .. }) => {
                    refused += 1;
                    assert!(names_with_tmp(&disk).is_empty(), "{:?}", names_with_tmp(&disk));
                    assert_eq!(disk.used(), before, "room {room}");
                }
                Err(error) => panic!("{error}"),
            }
            disk.set_capacity(None);
            let (wal, _) = try_open(&disk).unwrap();
            assert!(before == 0 || !texts(&wal, A, 1).unwrap().is_empty());
        }
    }
    assert!(opened > 30 && refused > 30, "{opened} opened, {refused} refused");
}

fn names_with_tmp(disk: &MemoryDisk) -> Vec<std::path::PathBuf> {
    disk.paths().into_iter().filter(|path| path.to_string_lossy().contains(".tmp")).collect()
}

#[test]
fn rule_40_an_earlier_segment_that_ends_early_is_corruption() {
    let disk = long_log();
    let bytes = disk.content(segment(2)).unwrap();
    for end in [0, 100, PAGE, PAGE + 1, 2 * PAGE, bytes.len() - PAGE] {
        disk.replace(segment(2), &bytes[..end]);
        let refusal = try_open(&disk).map(|_| ()).unwrap_err();
        assert!(matches!(refusal, OpenError::Corrupt { .. } | OpenError::DamagedHeader { .. }), "{end}: {refusal}");
    }
}

#[test]
fn a_lost_sync_is_not_believed_by_a_checkpoint() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1)]);
    drop(wal);
    drop(open(&disk));
    // The checkpoint that opening wrote states what was durable then.
    let last = names(&disk, "segment-").len() as u64;
    let bytes = disk.content(segment(last)).unwrap();
    let start = batch_starts(&bytes)[0];
    let mut lost = bytes.clone();
    lost[start..].fill(0);
    disk.replace(segment(last), &lost);
    assert!(matches!(try_open(&disk), Err(OpenError::Corrupt { .. })));
}

#[test]
fn closing_leaves_proof_also_where_the_segment_is_full() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    for index in 1..16 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
    }
    wal.close().unwrap();
    let bytes = disk.content(segment(1)).unwrap();
    let starts = batch_starts(&bytes);
    assert_eq!(starts.len(), 15, "no room for more");
    disk.flip(segment(1), starts[14] as u64 + 500, 1);
    assert!(matches!(try_open(&disk), Err(OpenError::Corrupt { .. })));
}

//! Rules on the bytes on disk.

use quorate_protocol::{ClusterId, Identity, Incarnation, LoadFailure, LoadRange, NodeId};
use quorate_wal::disk::{Crash, MemoryDisk};
use quorate_wal::{FORMAT_VERSION, OpenError, Wal};

use crate::craft::{PAGE, number_64, put_32, records, reseal_batch, reseal_checkpoint, reseal_header, reseal_record};
use crate::support::*;

/// A closed log with entries in its first segment.
fn closed_log() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 3), state("t1")]);
    put(&mut wal, B, vec![append(1, 1, 1)]);
    put(&mut wal, A, vec![append(4, 1, 3)]);
    wal.close().unwrap();
    disk
}

#[test]
fn rule_01_every_flipped_bit_of_a_segment_header_is_a_typed_error() {
    let disk = closed_log();
    let classes = [
        (0..8, "magic"),
        (8..12, "version"),
        (12..16, "features"),
        (16..32, "cluster"),
        (32..40, "node"),
        (40..56, "incarnation"),
        (56..64, "segment id"),
        (88..92, "sequence, chain or checksum"),
    ];
    for bit in 0..92 * 8_u64 {
        let damaged = disk.fork();
        damaged.crash(Crash::KeepAll);
        damaged.flip(segment(1), bit / 8, u8::try_from(bit % 8).unwrap());
        let before = damaged.operations();
        let Err(OpenError::DamagedHeader { field, .. }) = try_open(&damaged).map(|_| ()) else {
            panic!("bit {bit}: {:?}", try_open(&damaged).err());
        };
        assert_eq!(damaged.operations(), before, "nothing was written");
        if let Some((_, class)) = classes.iter().find(|(bytes, _)| bytes.contains(&(bit / 8))) {
            assert_eq!(field, *class, "bit {bit}");
        }
    }
    for byte in (92..4096).step_by(13) {
        let damaged = disk.fork();
        damaged.crash(Crash::KeepAll);
        damaged.flip(segment(1), byte, 0);
        assert!(matches!(try_open(&damaged), Err(OpenError::DamagedHeader { field: "padding", .. })));
    }
}

#[test]
fn rule_01_a_log_of_another_cluster_node_or_incarnation_is_refused() {
    let disk = closed_log();
    let own = identity();
    let others = [
        (Identity { cluster: ClusterId(1), ..own }, "cluster"),
        (Identity { node: NodeId(1), ..own }, "node"),
        (Identity { incarnation: Incarnation(1), ..own }, "incarnation"),
    ];
    for (other, class) in others {
        let refused = Wal::open(disk.clone(), small(), other).err();
        assert!(matches!(refused, Some(OpenError::Foreign { field, .. }) if field == class), "{class}");
    }
    assert!(try_open(&disk).is_ok());
}

#[test]
fn rule_02_a_newer_version_or_an_unknown_feature_is_refused_without_a_write() {
    let disk = closed_log();
    let files = [segment(1), "log/checkpoint-a".to_owned(), "log/checkpoint-b".to_owned()];
    for path in &files {
        for (at, number) in [(8, FORMAT_VERSION + 1), (12, 4)] {
            let foreign = disk.fork();
            foreign.crash(Crash::KeepAll);
            let mut bytes = foreign.content(path).unwrap();
            put_32(&mut bytes, at, number);
            if *path == files[0] {
                reseal_header(&mut bytes);
            } else {
                reseal_checkpoint(&mut bytes);
            }
            foreign.replace(path, &bytes);
            let before = foreign.operations();
            let refusal = try_open(&foreign).map(|_| ()).unwrap_err();
            let is_named = match &refusal {
                OpenError::Newer { version, .. } => at == 8 && *version == FORMAT_VERSION + 1,
                OpenError::Features { bits, .. } => at == 12 && *bits == 4,
                _ => false,
            };
            assert!(is_named, "{path}: {refusal}");
            assert_eq!(foreign.operations(), before, "nothing was written");
        }
    }
    assert!(try_open(&disk).is_ok());
}

/// Releases count their versions from 1. A file with version 0 and matching checksums was written by none of them.
#[test]
fn rule_02_version_zero_is_refused_without_a_write() {
    let disk = closed_log();
    for path in [segment(1), "log/checkpoint-a".to_owned(), "log/checkpoint-b".to_owned()] {
        let odd = disk.fork();
        odd.crash(Crash::KeepAll);
        let mut bytes = odd.content(&path).unwrap();
        put_32(&mut bytes, 8, 0);
        if path == segment(1) {
            reseal_header(&mut bytes);
        } else {
            reseal_checkpoint(&mut bytes);
        }
        odd.replace(&path, &bytes);
        let before = odd.operations();
        let refusal = try_open(&odd).map(|_| ()).unwrap_err();
        let is_named =
            matches!(&refusal, OpenError::DamagedHeader { path: at, field: "version" } if at.ends_with(&path));
        assert!(is_named, "{path}: {refusal}");
        assert_eq!(odd.operations(), before, "nothing was written");
    }
}

#[test]
fn rule_03_a_record_copied_to_another_place_is_rejected() {
    let disk = closed_log();
    let sound = disk.content(segment(1)).unwrap();
    // The second batch takes the place of the third: it has the same kinds of records and is intact, but was written
    // for another place.
    let mut moved = sound.clone();
    let batches = batch_starts(&sound);
    let (second, third) = (batches[1], batches[2]);
    let copy = moved[second..second + PAGE].to_vec();
    moved[third..third + PAGE].copy_from_slice(&copy);
    disk.replace(segment(1), &moved);
    assert!(matches!(try_open(&disk), Err(OpenError::Corrupt { .. })));
}

/// A record at the same offset of another segment, as after recycling or a misdirected write. A read finds no record
/// there, though the bytes are those of a record with the same stream and key.
#[test]
fn rule_03_a_record_of_another_segment_is_rejected() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![journal(1, "old")]);
    for index in 1..15 {
        put(&mut wal, B, vec![append_sized(index, 1, 1, 3000)]);
    }
    put(&mut wal, A, vec![journal(1, "new")]);
    assert_eq!(names(&disk, "segment-").len(), 2);
    let old = disk.content(segment(1)).unwrap();
    let mut bytes = disk.content(segment(2)).unwrap();
    bytes[PAGE..2 * PAGE].copy_from_slice(&old[PAGE..2 * PAGE]);
    disk.replace(segment(2), &bytes);
    let range = LoadRange::Keys { range: 0..9 };
    assert_eq!(wal.reader().load(A, &range), Err(LoadFailure::Damaged));
    drop(wal);
    disk.crash(Crash::KeepAll);
    // Nothing shows that the batch was durable: it is cut, and nothing of the other segment counts in its place.
    let (wal, _) = try_open(&disk).unwrap();
    assert_eq!(keys(&wal, A), [(1, "old".to_owned())]);
}

#[test]
fn rule_04_two_swapped_payloads_of_equal_length_are_detected() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 2)]);
    put(&mut wal, A, vec![append(3, 1, 1)]);
    wal.close().unwrap();
    let mut bytes = disk.content(segment(1)).unwrap();
    let start = batch_starts(&bytes)[0];
    let (first, second) = (find(&bytes, start, b"1@1"), find(&bytes, start, b"2@1"));
    for at in 0..3 {
        bytes.swap(first + at, second + at);
    }
    disk.replace(segment(1), &bytes);
    let Err(OpenError::Corrupt { stream, position, segment, .. }) = try_open(&disk) else { panic!("not detected") };
    assert_eq!((stream, position, segment), (A, 1, 1));
}

/// Each record passes at its new place; only the chain shows the change.
#[test]
fn rule_04_two_swapped_records_and_a_replaced_one_are_detected_by_the_chain() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 3)]);
    put(&mut wal, A, vec![append(4, 1, 1)]);
    wal.close().unwrap();
    let sound = disk.content(segment(1)).unwrap();
    let batch = records(&sound, PAGE);
    let length = batch[2] - batch[1];
    let mut swapped = sound.clone();
    swapped[batch[1]..batch[2]].copy_from_slice(&sound[batch[2]..batch[2] + length]);
    swapped[batch[2]..batch[2] + length].copy_from_slice(&sound[batch[1]..batch[2]]);
    let mut replaced = sound.clone();
    let text = find(&replaced, batch[2], b"2@1");
    replaced[text] = b'7';
    let payload = crc32c::crc32c(&replaced[batch[2] + 56..batch[2] + length]);
    put_32(&mut replaced, batch[2] + 40, payload);
    for mut bytes in [swapped, replaced] {
        for at in &batch[1..3] {
            reseal_record(&mut bytes, 1, *at);
        }
        let damaged = disk.fork();
        damaged.crash(Crash::KeepAll);
        damaged.replace(segment(1), &bytes);
        assert!(matches!(try_open(&damaged), Err(OpenError::Corrupt { stream: A, segment: 1, .. })));
    }
}

#[test]
fn rule_04_records_behind_damage_still_testify() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 1)]);
    put(&mut wal, A, vec![append(2, 1, 1)]);
    put(&mut wal, A, vec![append(3, 1, 1)]);
    put(&mut wal, A, vec![append(4, 1, 1)]);
    drop(wal);
    disk.crash(Crash::KeepAll);
    let bytes = disk.content(segment(1)).unwrap();
    // Two batches in a row are lost whole; only the last one proves that they were durable.
    for batch in [1, 2] {
        let start = batch_starts(&bytes)[batch];
        disk.replace(segment(1), &with_zeros(disk.content(segment(1)).unwrap(), start, start + PAGE));
    }
    assert!(matches!(try_open(&disk), Err(OpenError::Corrupt { .. })));
}

#[test]
fn rule_05_space_that_was_never_written_is_no_record() {
    let disk = MemoryDisk::new();
    for operations in 0..60 {
        // The power goes while the log is created. Then the log is created again, or is there whole and empty.
        let disk = disk.fork();
        disk.power_off_after(operations);
        let _ = try_open(&disk);
        disk.crash(Crash::Seeded(operations));
        let (wal, _) = try_open(&disk).unwrap();
        assert_eq!(wal.streams(), []);
    }
}

/// Kind 0 is invalid even with a matching checksum; and a segment that was prepared and never written to holds nothing.
#[test]
fn rule_05_kind_zero_is_no_record_and_a_fresh_segment_is_empty() {
    let disk = closed_log();
    let mut bytes = disk.content(segment(1)).unwrap();
    let batch = records(&bytes, PAGE);
    bytes[batch[1] + 4] = 0;
    // The walk over the records needs the kind; every other record is resealed.
    reseal_batch(&mut bytes, 1, PAGE, 0);
    disk.replace(segment(1), &bytes);
    assert!(matches!(try_open(&disk), Err(OpenError::Corrupt { offset, .. }) if offset == batch[1] as u64));

    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    let mut index = 1;
    while names(&disk, "segment-").len() < 2 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 3000)]);
        index += 1;
    }
    drop(wal);
    disk.crash(Crash::KeepAll);
    let mut bytes = disk.content(segment(2)).unwrap();
    bytes[PAGE..].fill(0);
    disk.replace(segment(2), &bytes);
    let (wal, report) = try_open(&disk).unwrap();
    assert_eq!(report.cut, None);
    assert_eq!(texts(&wal, A, 1).unwrap().len() as u64, index - 2);
}

#[test]
fn rule_06_a_length_beyond_the_file_is_not_believed() {
    let disk = closed_log();
    let bytes = disk.content(segment(1)).unwrap();
    let start = batch_starts(&bytes)[0];
    for length in [u32::MAX, 1 << 30, 70_000] {
        // The length of the batch, then that of its first record, with all checksums made to match.
        for at in [start + 56, start + 64] {
            let mut bytes = bytes.clone();
            put_32(&mut bytes, at, length);
            let payload = crc32c::crc32c(&bytes[start + 56..start + 64]);
            put_32(&mut bytes, start + 40, payload);
            let chain = reseal_record(&mut bytes, 1, start);
            put_32(&mut bytes, start + 64 + 44, chain);
            reseal_record(&mut bytes, 1, start + 64);
            let damaged = disk.fork();
            damaged.crash(Crash::KeepAll);
            damaged.replace(segment(1), &bytes);
            match try_open(&damaged) {
                Err(OpenError::Corrupt { .. }) => {}
                // The false length was in the first record alone, and the log used the others.
                Ok((wal, report)) => {
                    assert_eq!((at, report.repaired_batches), (start + 56, 1));
                    assert_eq!(texts(&wal, A, 1).unwrap().len(), 6);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn rule_07_a_batch_is_all_or_nothing() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    put(&mut wal, A, vec![append(1, 1, 2)]);
    let durable = disk.content(segment(1)).unwrap();
    let operations = vec![append_sized(3, 1, 4, 500), journal(5, "five"), append(7, 2, 3)];
    wal.write(&[(A, operations.clone()), (B, vec![append(1, 1, 1)])]).unwrap();
    let whole = disk.content(segment(1)).unwrap();
    drop(wal);
    let start = batch_starts(&whole)[1];
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for cut in start..=end {
        let torn = disk.fork();
        torn.crash(Crash::KeepAll);
        let mut bytes = durable.clone();
        bytes[start..cut].copy_from_slice(&whole[start..cut]);
        torn.replace(segment(1), &bytes);
        let (wal, report) = try_open(&torn).unwrap();
        let found =
            (texts(&wal, A, 1).unwrap().len(), keys(&wal, A).len(), texts(&wal, B, 1).unwrap_or_default().len());
        assert_eq!(found, if cut == end { (9, 1, 1) } else { (2, 0, 0) }, "cut at {cut}");
        // The last four bytes of a header are zero.
        let has_record = cut >= start + 52;
        assert_eq!(report.cut.is_some(), has_record && cut < end, "cut at {cut}");
    }
}

#[test]
fn rule_07_batches_start_on_pages() {
    let disk = closed_log();
    let bytes = disk.content(segment(1)).unwrap();
    let starts = batch_starts(&bytes);
    assert!(starts.len() >= 4, "three batches and the proof that closing leaves");
    assert!(starts.iter().all(|start| start.is_multiple_of(PAGE)));
}

#[test]
fn rule_08_a_batch_bears_what_was_durable_before_it() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    write(&mut wal, A, vec![append(1, 1, 1)]);
    write(&mut wal, A, vec![append(2, 1, 1)]);
    wal.sync().unwrap();
    write(&mut wal, A, vec![append(3, 1, 1)]);
    let bytes = disk.content(segment(1)).unwrap();
    // Each batch has three records, hence LSNs 1 to 3, 4 to 6, 7 to 9.
    let prev_durable: Vec<u64> = batch_starts(&bytes).iter().map(|start| number_64(&bytes, start + 32)).collect();
    assert_eq!(prev_durable, [0, 0, 6]);
    // An idle log leaves the proof without a sync, and the next batch takes its place.
    wal.sync().unwrap();
    let syncs = wal.metrics().syncs;
    wal.settle(true).unwrap();
    assert_eq!(wal.metrics().syncs, syncs);
    let bytes = disk.content(segment(1)).unwrap();
    let marker = batch_starts(&bytes)[3];
    assert_eq!(number_64(&bytes, marker + 32), 9);
    write(&mut wal, A, vec![append(4, 1, 1)]);
    let bytes = disk.content(segment(1)).unwrap();
    assert_eq!(batch_starts(&bytes).len(), 4);
    assert!(find(&bytes, marker, b"4@1") < marker + PAGE);
}

#[test]
fn rule_38_records_of_a_recycled_segment_do_not_count() {
    let disk = MemoryDisk::new();
    let mut wal = open(&disk);
    let mut index = 1;
    while wal.metrics().freed_segments < 3 {
        put(&mut wal, A, vec![append_sized(index, 1, 1, 1000)]);
        put(&mut wal, A, vec![compact(index, 1)]);
        index += 1;
    }
    put(&mut wal, A, vec![append(index, 1, 1)]);
    let newest = names(&disk, "segment-").pop().unwrap();
    let bytes = disk.content(format!("log/{newest}")).unwrap();
    let stale = bytes[PAGE..].chunks(PAGE).filter(|page| page.iter().any(|byte| *byte != 0)).count();
    drop(wal);
    disk.crash(Crash::LoseUnsynced);
    let (wal, report) = try_open(&disk).unwrap();
    assert!(stale > 10, "the file was used before");
    assert_eq!(report.cut, None);
    assert_eq!(texts(&wal, A, index).unwrap(), [format!("{index}@1")]);
}

fn with_zeros(mut bytes: Vec<u8>, start: usize, end: usize) -> Vec<u8> {
    bytes[start..end].fill(0);
    bytes
}

fn find(bytes: &[u8], start: usize, text: &[u8]) -> usize {
    start + bytes[start..].windows(text.len()).position(|window| window == text).expect("it is there")
}

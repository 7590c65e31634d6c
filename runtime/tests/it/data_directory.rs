//! Parts of a data directory that are lost, or replaced by copies of an earlier time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_protocol::{
    ClusterId, Configuration, Entry, EntryKind, Incarnation, Instant, LoadRange, Loaded, LogIndex, LogTime, NodeId,
    Now, Operation, Term,
};
use quorate_runtime::ServerOpenError;
use quorate_runtime::node::StreamId;
use quorate_runtime::shell::{Opened, Opening};
use quorate_wal::disk::{Crash, Disk, MemoryDisk};

const STREAM: StreamId = StreamId(9);

/// Starts a node without groups; a new directory gets this incarnation.
fn start(disk: &MemoryDisk, drawn: u128) -> Result<Opened<MemoryDisk>, ServerOpenError> {
    let log = quorate_wal::LogSettings { segment_bytes: 64 << 10, batch_bytes_max: 32 << 10, ..Default::default() };
    let opening = Opening {
        cluster: ClusterId(1),
        node: NodeId(1),
        members: Configuration::of_voters([NodeId(1)]),
        joining: BTreeSet::new(),
        log,
        frame_bytes_max: 1 << 20,
        tail_bytes_max: 1 << 20,
        groups: BTreeMap::new(),
        reopen: Box::new(|_| None),
    };
    opening.open(disk.clone(), || Now { instant: Instant::ZERO, wall_ms: 0 }, || Ok(drawn))
}

/// Makes an entry durable.
fn acknowledge(opened: &mut Opened<MemoryDisk>, index: u64) {
    let entry = Entry::internal(EntryKind::Command, LogTime(0), Bytes::from(vec![7; 3000]));
    let append = Operation::Append { index: LogIndex(index), term: Term(1), entries: vec![entry] };
    assert_eq!(opened.log.write(&[(STREAM, vec![append])]).expect("written").refused, []);
    opened.log.sync().expect("synced");
    opened.log.settle(false).expect("a disk that works");
}

/// Number of entries that can be read.
fn acknowledged(opened: &Opened<MemoryDisk>) -> u64 {
    let range = LoadRange::Entries { range: LogIndex(1)..LogIndex(u64::MAX), bytes_max: usize::MAX };
    match opened.log.reader().load(STREAM, &range) {
        Ok(Loaded::Entries(entries)) => entries.len() as u64,
        _ => 0,
    }
}

/// A directory after three starts, with 30 entries over two segments; and as it was after the first and the second.
fn used(end: Crash) -> (MemoryDisk, [MemoryDisk; 2]) {
    let disk = MemoryDisk::new();
    let mut copies = Vec::new();
    for round in 0..3 {
        let mut opened = start(&disk, 7).expect("started");
        for index in 1..=10 {
            acknowledge(&mut opened, round * 10 + index);
        }
        drop(opened);
        disk.crash(end);
        copies.push(disk.fork());
    }
    let [first, second, _] = copies.try_into().expect("three rounds");
    (disk, [first, second])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    Older,
}

const FATES: [Fate; 3] = [Fate::Kept, Fate::Lost, Fate::Older];
const PARTS: [&str; 3] = ["identity", "log", "snapshots"];

/// Each part is kept, lost or older, in every combination, after every kind of end, with either of two earlier times.
/// In each case the acknowledged entries are there, or the node does not start and names the wrong part, or nothing is
/// left and the node is a new one.
#[test]
fn no_part_outlives_what_it_vouches_for() {
    let mut outcomes = BTreeMap::new();
    for end in [Crash::LoseUnsynced, Crash::KeepAll, Crash::Process, Crash::Seeded(3)] {
        let (used, copies) = used(end);
        for older in &copies {
            for combination in 0..27 {
                let fates = [FATES[combination % 3], FATES[combination / 3 % 3], FATES[combination / 9]];
                let disk = used.fork();
                for (part, fate) in PARTS.into_iter().zip(fates) {
                    match fate {
                        Fate::Kept => {}
                        Fate::Lost => disk.lose(part),
                        Fate::Older => disk.restore(part, older),
                    }
                }
                let before = disk.operations();
                let outcome = match start(&disk, 8) {
                    Ok(opened) if opened.node.identity().incarnation == Incarnation(8) => {
                        assert_eq!(fates, [Fate::Lost; 3], "a new node has nothing of the old one");
                        "another node"
                    }
                    Ok(opened) if acknowledged(&opened) == 30 => "all is there",
                    Ok(_) => {
                        // No remaining file records the last start. Only the peers know it.
                        assert_eq!(fates[..2], [Fate::Older; 2], "what was acknowledged is lost unseen");
                        "an older copy"
                    }
                    Err(error) => {
                        let said = error.to_string();
                        assert!(PARTS.iter().any(|part| said.contains(part)), "{fates:?}: {said}");
                        assert!(fates.iter().any(|fate| *fate != Fate::Kept), "{said}");
                        // A fault that is detected before the log is opened changes nothing.
                        let is_told_late = fates[..2].contains(&Fate::Older);
                        assert!(is_told_late || disk.operations() == before, "{fates:?}: nothing was changed");
                        "refused"
                    }
                };
                *outcomes.entry(outcome).or_insert(0) += 1;
            }
        }
    }
    // Of 27: nothing is lost with everything kept, with older snapshots, and with an `identity` that is one start
    // older.
    assert_eq!(outcomes["another node"], 8);
    assert_eq!(outcomes["an older copy"], 16, "identity and log, with or without the snapshots");
    assert!(outcomes["all is there"] >= 16 && outcomes["refused"] > 150, "{outcomes:?}");
}

/// A lost log is not made again under the incarnation under which its entries were acknowledged.
#[test]
fn a_lost_log_is_named() {
    let (disk, _) = used(Crash::LoseUnsynced);
    disk.lose("log");
    let refused = start(&disk, 8).expect_err("refused").to_string();
    assert_eq!(refused, "the log `log` is missing, though it was made");
    assert!(disk.list("log".as_ref()).is_err(), "and none is made");
}

/// Power fails at every step of the first starts: the directory is usable, and its parts agree.
#[test]
fn a_crash_while_a_directory_is_made_keeps_no_node_from_starting() {
    let steps = {
        let disk = MemoryDisk::new();
        drop(start(&disk, 7).expect("started"));
        disk.operations()
    };
    assert!(steps > 10);
    for step in 0..=steps {
        for crash in [Crash::LoseUnsynced, Crash::KeepAll, Crash::LoseBytes, Crash::Seeded(step), Crash::Process] {
            let disk = MemoryDisk::new();
            for at in [step, steps - step, step / 2] {
                disk.power_off_after(at);
                drop(start(&disk, 7));
                disk.crash(crash);
            }
            for _ in 0..3 {
                let opened = start(&disk, 7).unwrap_or_else(|error| panic!("step {step}, {crash:?}: {error}"));
                drop(opened);
                disk.crash(crash);
            }
        }
    }
}

/// With little room a node starts, or is refused by name. It leaves no half-made files, and with room again it starts.
#[test]
fn a_start_with_little_room_leaves_nothing_half_made() {
    let (used, _) = used(Crash::LoseUnsynced);
    let (mut started, mut refused) = (0, 0);
    for fresh in [true, false] {
        for room in (0..140).step_by(4) {
            let disk = if fresh { MemoryDisk::new() } else { used.fork() };
            let before = disk.used();
            disk.set_capacity(Some(before + (room << 10)));
            match start(&disk, 7) {
                Ok(opened) => {
                    assert!(fresh || acknowledged(&opened) == 30);
                    started += 1;
                }
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains("room") || said.contains("space") || said.contains("full"), "{room}: {said}");
                    let left = disk.used() - before;
                    assert!(left <= 20 << 10, "{room}: {left} bytes of what was not made are left");
                    refused += 1;
                }
            }
            disk.set_capacity(None);
            disk.crash(Crash::LoseUnsynced);
            let opened = start(&disk, 7).unwrap_or_else(|error| panic!("{room}: {error}"));
            assert!(fresh || acknowledged(&opened) == 30);
        }
    }
    assert!(started > 20 && refused > 10, "{started} started, {refused} refused");
}

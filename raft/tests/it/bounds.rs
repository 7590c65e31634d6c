//! Bounds: something is full, too large, or not available.

use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::{
    Configuration, ConfigurationError, EntryKind, Input, LogCommand, LogEvent, LogIndex, LogPosition, LogTime, NodeId,
    Now, Proposal, ProposalId, Protocol, ReadFailure, ReadId, RecoverError, Recovery, RefuseReason, ReplicatedLog,
    Signal, SnapshotMeta, StorageLevel, Term,
};
use quorate_raft::testing::{Builder, Cluster};
use quorate_raft::{Config, ConfigError, Message, Raft, Settings, Start};

use crate::support::recovery;

fn refused(cluster: &Cluster, id: ProposalId) -> Option<RefuseReason> {
    cluster.node(1).events.iter().rev().find_map(|event| match event {
        LogEvent::Refused { id: refused, reason, .. } if *refused == id => Some(*reason),
        _ => None,
    })
}

fn leader_with(settings: Settings) -> Cluster {
    let mut cluster = Builder::new(3, 1).settings(settings).start();
    cluster.elect_node(1);
    cluster.run(Duration::from_millis(10));
    cluster
}

#[test]
fn proposals_are_refused_for_a_reason() {
    let mut cluster = leader_with(Settings { entry_bytes_max: 100, uncommitted_bytes_max: 200, ..Settings::default() });
    let too_large = cluster.propose(1, &[0; 45]);
    assert_eq!(refused(&cluster, too_large), Some(RefuseReason::TooLarge));
    let fits = cluster.propose(1, &[0; 44]);
    assert_eq!(refused(&cluster, fits), None);
    cluster.isolate(1);
    cluster.propose(1, &[0; 44]);
    cluster.propose(1, &[0; 44]);
    let beyond = cluster.propose(1, &[0; 44]);
    assert_eq!(refused(&cluster, beyond), Some(RefuseReason::Overloaded));
    cluster.heal();
    cluster.run(Duration::from_millis(200));
    let after = cluster.propose(1, &[0; 44]);
    assert_eq!(refused(&cluster, after), None, "what is committed makes room");
    cluster.input(NodeId(1), Input::Signal(Signal::Storage(StorageLevel::Low)));
    let full = cluster.propose(1, b"x");
    assert_eq!(refused(&cluster, full), Some(RefuseReason::DiskFull));
    cluster.input(NodeId(1), Input::Signal(Signal::Storage(StorageLevel::Enough)));
    let id = ProposalId { sequence: 99, ..ProposalId::default() };
    let proposal =
        Proposal { id, kind: EntryKind::Configuration, acknowledged_below: 0, payload: Bytes::new(), checksum: 0 };
    cluster.input(NodeId(1), Input::Command(LogCommand::Propose(proposal)));
    let malformed = RefuseReason::ConfigurationInvalid(ConfigurationError::Malformed);
    assert_eq!(refused(&cluster, id), Some(malformed), "a configuration is changed by its own command");
}

#[test]
fn reads_that_wait_are_bounded() {
    let mut cluster = leader_with(Settings { reads_max: 3, ..Settings::default() });
    cluster.isolate(1);
    let reads: Vec<ReadId> = (0..4).map(|_| cluster.read(1)).collect();
    let overloaded = LogEvent::ReadFailed { id: reads[3], reason: ReadFailure::Overloaded };
    assert_eq!(cluster.node(1).events.last(), Some(&overloaded));
    cluster.run(Duration::from_secs(2));
    for id in &reads[..3] {
        let lost = LogEvent::ReadFailed { id: *id, reason: ReadFailure::LeadershipLost };
        assert!(cluster.node(1).events.contains(&lost), "{id} ends with the leadership");
    }
    let nobody = cluster.read(1);
    let no_leader = LogEvent::ReadFailed { id: nobody, reason: ReadFailure::NoLeader };
    assert_eq!(cluster.node(1).events.last(), Some(&no_leader));
}

#[test]
fn what_is_on_the_way_to_a_peer_is_bounded() {
    let settings =
        Settings { entry_bytes_max: 100, batch_bytes_max: 100, window_bytes_max: 250, ..Settings::default() };
    let mut cluster = leader_with(settings);
    cluster.park(1, 2);
    for _ in 0..20 {
        cluster.propose(1, &[0; 44]);
        cluster.settle();
    }
    let bytes = cluster.parked().iter().map(|(_, _, message)| match message {
        Message::AppendEntries(message) => message.batch.raw().len(),
        _ => 0,
    });
    assert_eq!(bytes.collect::<Vec<_>>(), [100, 100, 100], "a message is sent whole once there is room");
    cluster.run(Duration::from_millis(10));
    assert_eq!(cluster.node(3).commands().len(), 20, "and holds up nobody else");
    cluster.release();
    cluster.run(Duration::from_millis(200));
    assert_eq!(cluster.node(2).commands().len(), 20);
}

#[test]
fn what_left_the_cache_is_loaded_for_the_application_and_for_peers() {
    let mut cluster = leader_with(Settings { cache_bytes_max: 0, ..Settings::default() });
    cluster.isolate(3);
    for number in 0..50_u8 {
        cluster.propose(1, &[number; 40]);
        cluster.settle();
    }
    cluster.heal();
    cluster.run(Duration::from_millis(500));
    assert_eq!(cluster.node(1).commands().len(), 50);
    assert_eq!(cluster.node(3).commands(), cluster.node(1).commands());
    let installed = cluster.node(3).events.iter().any(|event| matches!(event, LogEvent::Installed { .. }));
    assert!(!installed, "by the log");
    assert_eq!(cluster.node(1).core().status().first_index.0, 1);
}

#[test]
fn contradictory_settings_are_refused() {
    let members = Configuration::of_voters([NodeId(1), NodeId(2)]);
    let new = |node, settings| Config::new(NodeId(node), 0, Start::Initial(members.clone()), settings).err();
    assert_eq!(new(1, Settings::default()), None);
    assert_eq!(new(3, Settings::default()), Some(ConfigError::NotMember(NodeId(3))));
    let default = Settings::default;
    for settings in [
        Settings { heartbeat_interval: Duration::ZERO, ..default() },
        Settings { heartbeat_interval: Duration::from_millis(300), ..default() },
        Settings { election_timeout_max: Duration::from_millis(500), ..default() },
        Settings { batch_bytes_max: 1000, ..default() },
        Settings { window_bytes_max: 1000, ..default() },
        Settings { received_bytes_max: 1000, ..default() },
        Settings { uncommitted_bytes_max: 1000, ..default() },
        Settings { reads_max: 0, ..default() },
    ] {
        assert!(matches!(new(1, settings), Some(ConfigError::Contradiction(_))));
    }
    let small = Settings { entry_bytes_max: 60, ..default() };
    assert_eq!(new(1, small), Some(ConfigError::ConfigurationTooLarge { bytes: 56 + 29 }));
}

#[test]
fn a_core_can_cross_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<quorate_raft::Raft>();
}

/// Every extreme of every setting is refused with a typed error, or works: none panics, then or later.
#[test]
fn extreme_settings_are_refused_or_work() {
    type SetTime = fn(&mut Settings, Duration);
    type SetSize = fn(&mut Settings, usize);
    let times: [SetTime; 6] = [
        |settings, time| settings.election_timeout_min = time,
        |settings, time| settings.election_timeout_max = time,
        |settings, time| settings.heartbeat_interval = time,
        |settings, time| settings.commit_notice_delay = time,
        |settings, time| settings.clock_step_max = time,
        |settings, time| settings.quiet_after = Some(time),
    ];
    let (zero, least, most) = (Duration::ZERO, Duration::from_nanos(1), Duration::MAX);
    for (first, set_first) in times.iter().enumerate() {
        for set_second in &times[first..] {
            for (one, other) in [(zero, zero), (least, most), (most, least), (most, most), (zero, most), (most, zero)] {
                let mut settings = Settings::default();
                set_first(&mut settings, one);
                set_second(&mut settings, other);
                is_refused_or_works(settings);
            }
        }
    }
    let sizes: [SetSize; 8] = [
        |settings, size| settings.entry_bytes_max = size,
        |settings, size| settings.batch_bytes_max = size,
        |settings, size| settings.window_bytes_max = size,
        |settings, size| settings.uncommitted_bytes_max = size,
        |settings, size| settings.received_bytes_max = size,
        |settings, size| settings.cache_bytes_max = size,
        |settings, size| settings.reads_max = size,
        |settings, size| settings.held_messages_max = size,
    ];
    for set in sizes {
        for size in [0, 1, usize::MAX] {
            let mut settings = Settings::default();
            set(&mut settings, size);
            is_refused_or_works(settings);
        }
    }
    let everything =
        Settings { batch_bytes_max: u32::MAX as usize, window_bytes_max: usize::MAX, ..Settings::default() };
    is_refused_or_works(Settings { received_bytes_max: usize::MAX, ..everything });
}

fn is_refused_or_works(settings: Settings) {
    let members = Configuration::of_voters([NodeId(1), NodeId(2), NodeId(3)]);
    let Ok(_) = Config::new(NodeId(1), 7, Start::Initial(members), settings.clone()) else { return };
    let mut cluster = Builder::new(3, 1).settings(settings).start();
    cluster.time_out(1);
    cluster.propose(1, b"x");
    cluster.read(1);
    cluster.input(NodeId(1), Input::Signal(Signal::Storage(StorageLevel::Low)));
    for timeout in [Duration::ZERO, Duration::MAX] {
        cluster.input(NodeId(1), Input::Command(LogCommand::Transfer { to: None, timeout }));
        cluster.deliver();
    }
    for _ in 0..3 {
        cluster.time_out(1);
    }
    cluster.node(1).core().model_view();
}

/// More members than the format can hold, and no voters: both are refused without a panic.
#[test]
fn impossible_configurations_are_refused() {
    let config = |members| Config::new(NodeId(1), 7, Start::Initial(members), Settings::default()).err();
    let crowd = Configuration::of_voters((1..=65_536).map(NodeId));
    assert_eq!(config(crowd), Some(ConfigError::Configuration(ConfigurationError::TooLarge)));
    assert_eq!(config(Configuration::of_voters([])), Some(ConfigError::NotMember(NodeId(1))));
    let large = Configuration::of_voters((1..=65_535).map(NodeId));
    assert_eq!(config(large), None, "its entry takes 786 kB");
}

/// Recovered data that no log of any group holds are refused at recovery, and cause no overflow later.
#[test]
fn absurd_recoveries_are_refused() {
    let recover = |recovery| {
        let members = Configuration::of_voters([NodeId(1)]);
        let config = Config::new(NodeId(1), 7, Start::Initial(members), Settings::default()).expect("valid");
        Raft::recover(Now::default(), config, recovery)
    };
    let runs = vec![LogPosition { index: LogIndex(1), term: Term(1) }];
    let endless = Recovery { last: LogIndex(u64::MAX), runs, ..recovery(1, 1, &[0, 1]) };
    assert!(matches!(recover(endless), Err(RecoverError::Inconsistent(_))));
    assert!(matches!(recover(recovery(1, u64::MAX, &[0, 1])), Err(RecoverError::Inconsistent(_))));
    let members = Configuration::of_voters([NodeId(1)]);
    for (index, term) in [(u64::MAX, 1), (1, u64::MAX)] {
        let (index, term, log_time) = (LogIndex(index), Term(term), LogTime(u64::MAX));
        let snapshot = Some(SnapshotMeta { index, term, log_time, configuration: members.clone() });
        let found = Recovery { snapshot, ..recovery(1, 1, &[0, 1]) };
        assert!(matches!(recover(found), Err(RecoverError::Inconsistent(_))));
    }
    let mut other = recovery(1, 1, &[0, 1]);
    other.state = Some(state_of_founding(9));
    assert!(
        matches!(recover(other), Err(RecoverError::Inconsistent(_))),
        "entry 1 is not the founding that is recorded"
    );
}

fn state_of_founding(checksum: u32) -> Bytes {
    let mut state = vec![1];
    state.extend(1_u64.to_le_bytes());
    state.extend([0; 13]);
    state.push(1);
    state.extend(checksum.to_le_bytes());
    state.into()
}

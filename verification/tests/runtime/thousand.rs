//! A thousand groups on three nodes, each node with one log and one transport.

use std::time::{Duration, Instant};

use quorate_protocol::LogIndex;
use quorate_raft::Settings;

use crate::world::{NODES, World};

const GROUPS: u64 = 1000;

#[test]
fn a_thousand_groups_share_syncs_and_frames() {
    let settings = Settings { quiet_after: Some(Duration::from_secs(1)), ..Settings::default() };
    let mut world = World::new(GROUPS, settings);
    let begun = Instant::now();
    for id in NODES {
        world.start(id);
    }
    let all_lead = |world: &World| (1..=GROUPS).all(|group| world.leader(group).is_some());
    assert!(world.run_until(Duration::from_secs(30), all_lead), "every group elects a leader");
    world.run(Duration::from_secs(5));

    // One command in each group, at the same moment.
    let before: Vec<LogIndex> = (1..=GROUPS).map(|group| world.commit_index(1, group)).collect();
    let (syncs, counted) = world.totals();
    for group in 1..=GROUPS {
        world.propose(group, b"a command");
    }
    world.settle();
    let committed_by_leader = |world: &World, group: u64| {
        let leader = world.leader(group).expect("still leads");
        world.commit_index(leader, group) > before[usize::try_from(group - 1).expect("small")]
    };
    assert!((1..=GROUPS).all(|group| committed_by_leader(&world, group)), "all are committed");
    let (syncs_after, counted_after) = world.totals();
    let (syncs, writes) = (syncs_after - syncs, counted_after.writes - counted.writes);
    let messages = counted_after.messages_sent - counted.messages_sent;
    let frames = counted_after.frames_sent - counted.frames_sent;
    println!("{GROUPS} commands: {writes} writes in {syncs} syncs, {messages} messages in {frames} frames");
    assert!(writes >= 3 * GROUPS, "each of three nodes writes for each group: {writes}");
    assert!(syncs <= 30, "{syncs} syncs for {writes} writes");
    assert!(messages >= 4 * GROUPS, "{messages}");
    assert!(frames * 20 <= messages, "{frames} frames for {messages} messages");

    // Idle groups cost nothing: heartbeats between nodes replace those of the groups, which would be 400,000 messages.
    world.run(Duration::from_secs(5));
    let (_, counted) = world.totals();
    world.run(Duration::from_secs(10));
    let (_, counted_after) = world.totals();
    let frames = counted_after.frames_sent - counted.frames_sent;
    let messages = counted_after.messages_sent - counted.messages_sent;
    println!("10 s idle: {messages} messages, {frames} frames; the test ran {:?}", begun.elapsed());
    assert_eq!(messages, 0, "messages of idle groups");
    // A heartbeat every 50 ms on six ways.
    assert!(frames < 2 * 10 * 20 * 6, "{frames} frames of idle groups");
}

//! Log time passes without commands, at the pace of monotone clocks, with no more ticks than needed.

use quorate_protocol::NodeId;
use quorate_runtime::Outcome;
use quorate_runtime::group::Notice;
use quorate_runtime::replica::Obstacle;

use crate::cluster::{Cluster, N1, N2, N3};

const HOUR: i64 = 3_600_000;

/// The log time that a read on a node returns.
fn log_time(cluster: &mut Cluster, node: NodeId) -> u64 {
    let now = cluster.clocks(node);
    cluster.replica(node).read_context_at(now).now.0
}

/// Three nodes with these wall clocks. The first one leads.
fn led_with(wall_ahead_ms: [i64; 3]) -> Cluster {
    let mut cluster = Cluster::start(3);
    cluster.wall_ahead_ms = [N1, N2, N3].into_iter().zip(wall_ahead_ms).collect();
    cluster.elect(N1);
    cluster
}

fn restart_all(cluster: &mut Cluster) {
    for node in [N1, N2, N3] {
        cluster.crash(node);
    }
    start_all(cluster);
}

fn start_all(cluster: &mut Cluster) {
    for node in [N1, N2, N3] {
        cluster.boot(node);
    }
    cluster.elect(N1);
}

fn is_told(cluster: &Cluster, node: NodeId) -> bool {
    let differs = |notice: &Notice| matches!(notice, Notice::ClockDiffers { wall_ahead_ms: Some(_) });
    cluster.nodes[&node].notices.iter().any(differs)
}

#[test]
fn a_tick_comes_when_something_is_due() {
    let mut cluster = Cluster::led();
    let due = log_time(&mut cluster, N1) + 1000;
    assert!(matches!(cluster.execute(N2, &format!("due {due}")), Outcome::Applied(_)));
    cluster.run(900);
    assert!(cluster.ledger(N1).ticks.is_empty(), "nothing is due yet");
    cluster.run(300);
    let ticks = cluster.ledger(N1).ticks.clone();
    assert_eq!(ticks.len(), 1, "one tick was enough");
    assert!(ticks[0] >= due && ticks[0] <= due + 100);
    for node in [N2, N3] {
        assert_eq!(cluster.ledger(node).ticks, ticks, "log time is the same everywhere");
    }
}

#[test]
fn ticks_keep_their_distance_while_more_is_due_than_one_brings() {
    let mut cluster = Cluster::led();
    assert!(matches!(cluster.execute(N1, "every 1"), Outcome::Applied(_)));
    cluster.run(1000);
    let ticks = &cluster.ledger(N1).ticks;
    assert!((9..=11).contains(&ticks.len()), "{ticks:?}");
}

#[test]
fn an_idle_group_without_deadlines_appends_nothing() {
    let mut cluster = Cluster::led();
    let before = cluster.replica(N1).status().log.last_index;
    cluster.run(5000);
    assert_eq!(cluster.replica(N1).status().log.last_index, before);
}

/// If a wall clock is set, sessions and keys neither end early nor stay, and the leader appends no needless ticks.
#[test]
fn a_span_is_as_long_as_it_is_when_the_leaders_clock_is_set() {
    for step in [HOUR, -HOUR] {
        let mut cluster = Cluster::led();
        let due = log_time(&mut cluster, N1) + 3000;
        assert!(matches!(cluster.execute(N1, &format!("due {due}")), Outcome::Applied(_)));
        cluster.wall_ahead_ms.insert(N1, step);
        cluster.run(2900);
        assert!(cluster.ledger(N1).ticks.is_empty(), "a step of {step} ms");
        cluster.run(200);
        assert_eq!(cluster.ledger(N1).ticks.len(), 1, "a step of {step} ms");
        assert!(is_told(&cluster, N1) && !is_told(&cluster, N2));
        let obstacles = cluster.replica(N1).explain();
        assert!(matches!(obstacles[..], [Obstacle::ClockDiffers { .. }]), "{obstacles:?}");
        cluster.wall_ahead_ms.clear();
        cluster.run(200);
        assert_eq!(cluster.replica(N1).explain(), [], "it was set right");
    }
}

#[test]
fn a_span_is_as_long_as_it_is_when_a_leader_follows_whose_clock_is_wrong() {
    for wrong in [HOUR, -HOUR] {
        let mut cluster = Cluster::led();
        cluster.wall_ahead_ms = [N2, N3].into_iter().map(|node| (node, wrong)).collect();
        cluster.run(200);
        let due = log_time(&mut cluster, N1) + 5000;
        assert!(matches!(cluster.execute(N1, &format!("due {due}")), Outcome::Applied(_)));
        assert!(is_told(&cluster, N2), "it is told of before it does harm");
        cluster.run(1000);
        cluster.crash(N1);
        cluster.run(3500);
        let successor = cluster.leader().expect("one of two");
        assert!(cluster.ledger(successor).ticks.is_empty(), "{wrong} ms wrong");
        cluster.run(700);
        assert_eq!(cluster.ledger(successor).ticks.len(), 1, "{wrong} ms wrong");
    }
}

/// The node was stopped, so it does not know the time span itself. The nodes that elect it do.
#[test]
fn a_leader_that_has_just_started_takes_log_time_from_its_voters() {
    let mut cluster = led_with([0, HOUR, 0]);
    cluster.run(1000);
    cluster.crash(N2);
    cluster.boot(N2);
    let before = log_time(&mut cluster, N1);
    cluster.elect(N2);
    let passed = log_time(&mut cluster, N2) - before;
    assert!(passed < 15_000, "{passed} ms in an election");
}

#[test]
fn one_node_that_starts_a_year_ahead_does_not_move_log_time() {
    let year = 365 * 24 * HOUR;
    for ahead in [[year, 0, 0], [0, year, 0], [0, 0, year]] {
        let mut cluster = led_with(ahead);
        let expected = cluster.now.wall_ms;
        assert!(log_time(&mut cluster, N1).abs_diff(expected) < 1000, "{ahead:?}");
        let due = log_time(&mut cluster, N1) + 600_000;
        assert!(matches!(cluster.execute(N1, &format!("due {due}")), Outcome::Applied(_)));
        restart_all(&mut cluster);
        assert!(cluster.ledger(N1).ticks.is_empty(), "{ahead:?}");
        let expected = cluster.now.wall_ms;
        assert!(log_time(&mut cluster, N1).abs_diff(expected) < 1000, "{ahead:?}");
    }
}

#[test]
fn log_time_goes_on_from_the_wall_clocks_when_all_were_stopped() {
    let mut cluster = Cluster::led();
    let before = log_time(&mut cluster, N1);
    for node in [N1, N2, N3] {
        cluster.crash(node);
    }
    // A monotone clock does not show the time in which no node ran.
    cluster.now.wall_ms += 600_000;
    start_all(&mut cluster);
    let after = log_time(&mut cluster, N1);
    assert!(after >= before + 600_000, "{before} {after}");
    // Their clocks are set back while they are stopped. Log time stays unchanged.
    let last = cluster.replica(N1).status().log.log_time.0;
    for node in [N1, N2, N3] {
        cluster.crash(node);
    }
    cluster.now.wall_ms -= 600_000;
    start_all(&mut cluster);
    let again = log_time(&mut cluster, N1);
    assert!((last..last + 30_000).contains(&again), "{last} {again}");
}

#[test]
fn log_time_is_drawn_to_a_leaders_wall_clock_slowly() {
    let mut cluster = Cluster::led();
    cluster.wall_ahead_ms = [N1, N2, N3].into_iter().map(|node| (node, 5000)).collect();
    let before = log_time(&mut cluster, N1);
    cluster.run(10_000);
    let passed = log_time(&mut cluster, N1) - before;
    assert!((10_009..=10_011).contains(&passed), "{passed}");
    assert!(!is_told(&cluster, N1), "5 s is no difference to tell of");
}

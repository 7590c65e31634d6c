//! Scenarios that any serious Paxos must pass, by their number in the project's list. The others concern a log of
//! decisions.

use std::time::Duration;

use bytes::Bytes;
use quorate_paxos::register::testing::{Answers, Builder, Calls, Records, Setup};
use quorate_paxos::register::{
    Change, ChangeOutcome, CommandRefusal, Expected, Functions, Message, ReadOutcome, Settings,
};
use quorate_protocol::testing::PowerCut;

use super::outcomes::{append, done, read};
use super::support::{KEY, accept, accepted_at_two, hear, prepare, prepare_with, set_parked, three};
use crate::support::ballot;

#[test]
fn row_05_what_is_chosen_and_known_to_nobody_is_found() {
    let mut cluster = three();
    accepted_at_two(&mut cluster, 2);
    cluster.crash(1);
    cluster.forget_parked();
    let value = Some(Bytes::from_static(b"two"));
    let id = cluster.change(3, KEY, Change::CompareAndSet { expected: Expected::Value(None), value });
    cluster.run(Duration::from_secs(1));
    let outcome = cluster.node(3).changed(id);
    assert!(
        matches!(outcome, Some(ChangeOutcome::Conflict(found)) if found.value.as_deref() == Some(b"one")),
        "{outcome:?}"
    );
    cluster.restart(1);
    for node in 1..=3 {
        assert_eq!(read(&mut cluster, node, KEY).value.as_deref(), Some(&b"one"[..]));
    }
}

#[test]
fn row_06_a_minority_that_accepted_and_reads_of_other_quorums() {
    let mut cluster = three();
    prepare_with(&mut cluster, 2);
    assert!(cluster.node(1).core().register(KEY).is_some_and(|it| it.found.is_some()), "accepted at 1 only");
    cluster.crash(1);
    cluster.forget_parked();
    assert_eq!(read(&mut cluster, 2, KEY).value, None, "2 and 3 know of nothing");
    cluster.crash(3);
    cluster.restart(1);
    assert_eq!(read(&mut cluster, 2, KEY).value.as_deref(), Some(&b"one"[..]), "1 and 2 choose what 1 had accepted");
    cluster.crash(1);
    cluster.restart(3);
    for node in [2, 3] {
        assert_eq!(read(&mut cluster, node, KEY).value.as_deref(), Some(&b"one"[..]));
    }
}

#[test]
fn row_06_a_read_that_began_late_is_not_answered_by_early_reports() {
    let mut cluster = three();
    cluster.park_all();
    let early = cluster.read(1, KEY);
    cluster.deliver();
    cluster.release_if(|_, to, message| to == 2 && matches!(message, Message::Query(_)));
    let late = cluster.read(1, KEY);
    cluster.deliver();
    cluster.release_if(|_, _, message| matches!(message, Message::Report(_)));
    assert!(cluster.node(1).read(early).is_some());
    assert_eq!(cluster.node(1).read(late), None, "the answer is older than the question");
    cluster.release();
    cluster.run(Duration::from_secs(1));
    assert!(cluster.node(1).read(late).is_some());
}

#[test]
fn row_07_to_accept_is_to_promise() {
    let mut cluster = three();
    cluster.park_all();
    let message = prepare(&cluster, ballot(3, 1));
    hear(&mut cluster, 3, 1, message);
    let message = accept(&cluster, ballot(5, 2), b"five");
    let accepted = hear(&mut cluster, 3, 2, message);
    assert!(matches!(accepted, Some(Message::Accepted(_))), "no promise of ballot 5 is needed: {accepted:?}");
    for message in [prepare(&cluster, ballot(4, 1)), accept(&cluster, ballot(4, 1), b"four")] {
        let answer = hear(&mut cluster, 3, 1, message);
        assert!(matches!(&answer, Some(Message::Nack(nack)) if nack.promised == ballot(5, 2)), "{answer:?}");
    }
    cluster.crash(3);
    let promised = cluster.node(3).disk.register(KEY);
    assert_eq!(promised, Some((ballot(5, 2), ballot(5, 2))), "the promise is durable with what was accepted");
}

#[test]
fn row_08_promises_of_before_a_restart_count_for_nothing() {
    let mut cluster = three();
    set_parked(&mut cluster);
    cluster.release_if(|_, _, message| matches!(message, Message::Prepare(_)));
    let first = cluster.node(1).core().ballot(KEY).expect("it prepares");
    cluster.crash(1);
    cluster.restart(1);
    cluster.deliver();
    let id = cluster.set(1, KEY, b"other");
    cluster.deliver();
    let second = cluster.node(1).core().ballot(KEY).expect("it prepares");
    assert!(second > first, "a ballot that was heard of is never used again");
    let replayed = cluster.release_if(|_, to, message| to == 1 && matches!(message, Message::Promise(_)));
    assert_eq!(replayed, 2);
    assert_eq!(cluster.node(1).core().status().ignored["stale_answer"], 2);
    let is_accept = |message: &Message| matches!(message, Message::Accept(_));
    assert!(!cluster.parked().iter().any(|(_, _, message)| is_accept(message)), "nothing is proposed for them");
    cluster.release();
    cluster.run(Duration::from_secs(1));
    done(&cluster, 1, id);
}

#[test]
fn row_09_what_was_said_outlives_a_power_cut() {
    let mut cluster = three();
    set_parked(&mut cluster);
    cluster.release_if(|_, to, message| to == 2 && matches!(message, Message::Prepare(_)));
    let first = cluster.node(1).core().ballot(KEY).expect("it prepares");
    cluster.crash(2);
    cluster.restart(2);
    cluster.deliver();
    assert_eq!(cluster.node(2).core().register(KEY).expect("a promise").promised, first);
    cluster.release_if(|from, _, message| from == 2 && matches!(message, Message::Promise(_)));
    cluster.release_if(|_, to, message| to == 2 && matches!(message, Message::Accept(_)));
    cluster.crash(2);
    cluster.restart(2);
    let status = cluster.node(2).core().register(KEY).expect("an acceptance");
    assert_eq!(status.accepted, first);
    assert!(status.promised > first, "the next ballot is promised with it");
}

#[test]
fn row_09_nothing_is_said_before_the_sync() {
    for is_accept in [false, true] {
        let mut cluster = three();
        let message = |cluster: &_| {
            if is_accept { accept(cluster, ballot(3, 1), b"one") } else { prepare(cluster, ballot(3, 1)) }
        };
        cluster.park_all();
        cluster.hold_disk(2);
        let first = message(&cluster);
        assert_eq!(hear(&mut cluster, 2, 1, first), None, "no answer before the sync");
        cluster.crash(2);
        assert_eq!(cluster.node(2).disk.register(KEY), None);
        cluster.restart(2);
        cluster.release_disk(2);
        let again = message(&cluster);
        assert!(hear(&mut cluster, 2, 1, again).is_some(), "after the sync it answers");
    }
}

#[test]
fn row_10_an_acceptance_is_there_as_a_whole_or_not_at_all() {
    for left in [PowerCut::Lost, PowerCut::StateAlone, PowerCut::Whole] {
        let mut cluster = three();
        cluster.park_all();
        let first = accept(&cluster, ballot(3, 1), b"old");
        hear(&mut cluster, 2, 1, first);
        cluster.hold_disk(2);
        let second = accept(&cluster, ballot(5, 3), b"new");
        hear(&mut cluster, 2, 3, second);
        cluster.crash_leaving(2, left);
        cluster.restart(2);
        cluster.forget_parked();
        cluster.heal();
        cluster.crash(3);
        let status = cluster.node(2).core().register(KEY).expect("something was accepted");
        let expected = if left == PowerCut::Whole { ballot(5, 3) } else { ballot(3, 1) };
        assert_eq!((status.promised, status.accepted), (expected, expected), "{left:?}");
        let value: &[u8] = if left == PowerCut::Whole { b"new" } else { b"old" };
        assert_eq!(read(&mut cluster, 2, KEY).value.as_deref(), Some(value));
    }
}

#[test]
fn row_11_a_node_that_lost_its_disk_decides_nothing() {
    let mut cluster = three();
    let id = accepted_at_two(&mut cluster, 2);
    cluster.release_if(|_, to, message| to == 1 && matches!(message, Message::Accepted(_)));
    done(&cluster, 1, id);
    cluster.forget_parked();
    cluster.isolate(1);
    cluster.wipe(2);
    cluster.restart(2);
    let (changed, asked, lost) = (cluster.set(3, KEY, b"three"), cluster.read(3, KEY), cluster.set(2, KEY, b"two"));
    cluster.run(Duration::from_secs(30));
    assert_eq!(cluster.node(3).changed(changed), Some(&ChangeOutcome::NotTried(CommandRefusal::TimedOut)));
    assert_eq!(cluster.node(3).read(asked), Some(&ReadOutcome::Failed(CommandRefusal::TimedOut)));
    let stranger = ChangeOutcome::NotTried(CommandRefusal::Stranger);
    assert_eq!(cluster.node(2).changed(lost), Some(&stranger), "it has no ballots either");
    assert_eq!(cluster.node(2).core().register(KEY), None);
    cluster.heal();
    cluster.run(Duration::from_secs(30));
    assert_eq!(read(&mut cluster, 3, KEY).value.as_deref(), Some(&b"one"[..]));
}

#[test]
fn row_12_duelling_proposers_converge() {
    /// A message takes twice the shortest pause: a proposer that pauses is back before the other is done.
    const TICK: Duration = Duration::from_millis(40);
    let mut overtaken = 0;
    for seed in 0..100 {
        let settings = Settings { promises_max: 0, ..Settings::default() };
        let mut cluster = Builder::new(3, seed).settings(settings.into()).start();
        cluster.park_all();
        let mut all: Vec<_> = (0..4).map(|_| (1, cluster.set(1, KEY, b"one"))).collect();
        // Every message of a tick is delivered at its end, so that the proposers proceed in lockstep.
        let ticks = (0..1_000).find(|tick| {
            if *tick == seed % 8 {
                all.extend((0..4).map(|_| (3, cluster.set(3, KEY, b"three"))));
            }
            cluster.run(TICK);
            // A new ballot overtakes the requests of the other proposer that were sent at the same time.
            cluster.release_if(|_, _, message| matches!(message, Message::Prepare(_)));
            cluster.release_if(|_, _, _| true);
            all.len() == 8 && all.iter().all(|(node, id)| cluster.node(*node).changed(*id).is_some())
        });
        let ticks = ticks.unwrap_or_else(|| panic!("seed {seed}: nobody wins"));
        assert!(ticks < 125, "seed {seed}: {ticks} ticks");
        for (node, id) in all {
            let outcome = cluster.node(node).changed(id);
            let is_done = matches!(outcome, Some(ChangeOutcome::Done(_) | ChangeOutcome::DoneBefore { .. }));
            assert!(is_done, "seed {seed}: {outcome:?}");
            overtaken += u64::from(matches!(outcome, Some(ChangeOutcome::DoneBefore { .. })));
        }
    }
    assert!(overtaken > 20, "in some runs they did overtake each other: {overtaken}");
}

/// The client never hears of its change and tries it again on two other nodes.
#[test]
fn row_15_a_change_that_is_tried_again_on_other_nodes_takes_effect_once() {
    let functions = Functions::default().with("append", append);
    let mut cluster = Builder::new(3, 1).settings(Setup { functions, ..Setup::default() }).start();
    let apply = Change::Apply { function: "append".to_owned(), argument: Bytes::from_static(b"x") };
    cluster.park(2, 1);
    cluster.park(3, 1);
    let id = cluster.change(1, KEY, apply.clone());
    cluster.deliver();
    cluster.release_if(|_, _, message| matches!(message, Message::Promise(_)));
    cluster.crash(1);
    cluster.change_again(2, KEY, id, apply.clone());
    cluster.run(Duration::from_secs(1));
    cluster.change_again(3, KEY, id, apply);
    cluster.run(Duration::from_secs(1));
    for node in [2, 3] {
        let outcome = cluster.node(node).changed(id);
        assert!(matches!(outcome, Some(ChangeOutcome::DoneBefore { .. })), "{outcome:?}");
    }
    cluster.restart(1);
    cluster.forget_parked();
    cluster.heal();
    assert_eq!(read(&mut cluster, 1, KEY).value.as_deref(), Some(&b"x"[..]));
}

use std::time::Duration;

use super::Clock;
use crate::replication::message::ClockReading;
use crate::{Instant, LogEvent, LogTime, Now};

fn at(monotone_ms: u64, wall_ms: u64) -> Now {
    Now { instant: Instant::from_nanos(monotone_ms * 1_000_000), wall_ms }
}

fn clock() -> Clock {
    Clock::new(Duration::from_secs(10))
}

fn leading(now: Now) -> Clock {
    let mut clock = clock();
    clock.begin(now, LogTime(0), &[]);
    clock
}

fn walls(wall_ms: impl IntoIterator<Item = u64>) -> Vec<ClockReading> {
    wall_ms.into_iter().map(|wall_ms| ClockReading { log_time: None, wall_ms }).collect()
}

#[test]
fn an_office_goes_on_at_the_pace_of_the_monotone_clock() {
    let mut clock = leading(at(0, 1000));
    assert_eq!(clock.log_time(at(5, 1005)), Some(LogTime(1005)));
    for (monotone, wall) in [(100, 0), (200, 50_000), (300, 1300)] {
        clock.advance(at(monotone, wall));
        let log_time = clock.log_time(at(monotone, wall)).expect("it leads").0;
        assert!(log_time.abs_diff(1000 + monotone) <= 1, "{log_time}: a wall clock that is set moves nothing");
    }
}

#[test]
fn log_time_is_drawn_to_the_wall_clock_by_a_thousandth() {
    const HOUR: u64 = 3_600_000;
    let behind = leading(at(0, HOUR));
    assert_eq!(behind.log_time(at(100_000, 2 * HOUR)), Some(LogTime(HOUR + 100_100)));
    assert_eq!(behind.log_time(at(100_000, 0)), Some(LogTime(HOUR + 99_900)));
    assert_eq!(behind.log_time(at(100_000, HOUR + 100_020)), Some(LogTime(HOUR + 100_020)), "no further than there");
    assert_eq!(behind.log_time(at(1200 * HOUR, 1202 * HOUR)), Some(LogTime(1202 * HOUR)));
}

#[test]
fn many_small_steps_come_to_one_large_one() {
    let (mut often, rarely) = (leading(at(0, 0)), leading(at(0, 0)));
    for monotone in 0..=100_000 {
        often.advance(at(monotone, 1 << 40));
    }
    let end = at(100_000, 1 << 40);
    assert_eq!(often.log_time(end), rarely.log_time(end));
}

#[test]
fn a_successor_goes_on_where_the_leader_was_whatever_its_wall_clock_says() {
    let mut successor = clock();
    successor.set(at(7000, 3_600_000), LogTime(500));
    successor.begin(at(9000, 3_602_000), LogTime(400), &walls([9, 9]));
    assert_eq!(successor.log_time(at(9000, 3_602_000)), Some(LogTime(2502)), "2 s, drawn by 2 ms");
}

#[test]
fn an_entry_that_comes_late_does_not_set_the_clock_back() {
    let mut follower = clock();
    follower.note_entry(at(0, 0), LogTime(5));
    assert_eq!(follower.log_time(at(0, 0)), None, "it may be as old as the log");
    follower.set(at(0, 1000), LogTime(1000));
    follower.note_entry(at(10, 1010), LogTime(7));
    assert_eq!(follower.log_time(at(10, 1010)), Some(LogTime(1010)));
    follower.note_entry(at(10, 1010), LogTime(1500));
    assert_eq!(follower.log_time(at(10, 1010)), Some(LogTime(1500)));
}

#[test]
fn a_leader_that_was_stopped_asks_the_voters_first() {
    let mut leader = clock();
    let known = [Some(LogTime(70)), None].map(|log_time| ClockReading { log_time, wall_ms: 9_000_000 });
    leader.begin(at(0, 5_000_000), LogTime(60), &known);
    assert_eq!(leader.log_time(at(0, 5_000_000)), Some(LogTime(70)));
}

#[test]
fn the_median_decides_where_all_were_stopped_and_never_goes_back() {
    let begin = |last, own, others: &[u64]| {
        let mut clock = clock();
        clock.begin(at(0, own), LogTime(last), &walls(others.iter().copied()));
        clock.log_time(at(0, own)).expect("it leads").0
    };
    assert_eq!(begin(0, 31_000_000, &[500, 501]), 501, "one that starts a year ahead moves nothing");
    assert_eq!(begin(0, 31_000_000, &[500]), 500, "of two the earlier");
    assert_eq!(begin(0, 500, &[31_000_000]), 500);
    assert_eq!(begin(0, 500, &[]), 500, "alone");
    assert_eq!(begin(900, 500, &[501]), 900, "not before the last entry");
}

#[test]
fn a_difference_is_told_when_it_comes_and_when_it_goes() {
    let differs = |wall_ahead_ms| Some(LogEvent::ClockDiffers { wall_ahead_ms });
    let mut clock = leading(at(0, 100_000));
    assert_eq!(clock.news(at(100, 110_000)), None);
    assert_eq!(clock.news(at(200, 3_700_200)), differs(Some(3_600_000)));
    assert_eq!(clock.news(at(300, 3_700_300)), None);
    assert_eq!(clock.news(at(400, 100_400)), differs(None));
    assert_eq!(clock.news(at(500, 0)), differs(Some(-100_499)));
    assert_eq!(clock.wall_ahead_ms(at(500, 100_600)), Some(100));
}

/// The reported difference must not mislead an operator.
#[test]
fn a_clock_that_is_set_while_it_differs_is_told_anew() {
    let differs = |wall_ahead_ms| Some(LogEvent::ClockDiffers { wall_ahead_ms: Some(wall_ahead_ms) });
    let mut clock = leading(at(0, 10_000_000));
    assert_eq!(clock.news(at(0, 2_800_000)), differs(-7_200_000));
    assert_eq!(clock.news(at(0, 2_900_000)), None, "it drifts");
    assert_eq!(clock.news(at(0, 46_000_000)), differs(36_000_000), "set from behind to ahead");
    assert_eq!(clock.news(at(0, 11_000_000)), differs(1_000_000), "set most of the way back");
    assert_eq!(clock.news(at(0, 10_000_000)), Some(LogEvent::ClockDiffers { wall_ahead_ms: None }));
}

#[test]
fn absurd_clocks_do_no_harm() {
    let mut clock = Clock::new(Duration::MAX);
    clock.begin(at(0, u64::MAX), LogTime(u64::MAX), &walls([0, u64::MAX]));
    let end = Now { instant: Instant::from_nanos(u64::MAX), wall_ms: 0 };
    assert_eq!(clock.log_time(end), Some(LogTime(u64::MAX)));
    assert_eq!(clock.wall_ahead_ms(end), Some(i64::MIN));
    clock.advance(end);
    assert_eq!(clock.news(end), None, "no difference is too large");
    clock.set(at(0, 0), LogTime(7));
    assert_eq!(clock.log_time(at(1, 8)), Some(LogTime(8)), "a monotone clock that went back");
}

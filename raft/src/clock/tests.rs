use std::time::Duration;

use quorate_protocol::{Instant, LogTime, Now};

use super::Clock;

fn at(monotone_ms: u64, wall_ms: u64) -> Now {
    Now { instant: Instant::from_nanos(monotone_ms * 1_000_000), wall_ms }
}

#[test]
fn follows_the_wall_clock_and_never_goes_back() {
    let mut clock = Clock::new(at(0, 1000), Duration::from_secs(10));
    assert_eq!(clock.log_time(at(5, 1005), LogTime(0)), (LogTime(1005), None));
    assert_eq!(clock.log_time(at(10, 500), LogTime(1005)), (LogTime(1005), None));
    assert_eq!(clock.log_time(at(15, 1015), LogTime(1005)), (LogTime(1015), None));
}

#[test]
fn a_jump_ahead_is_reported_once_and_not_followed() {
    let mut clock = Clock::new(at(0, 1000), Duration::from_secs(10));
    assert_eq!(clock.log_time(at(100, 50_000), LogTime(0)), (LogTime(1100), Some(48_900)));
    assert_eq!(clock.log_time(at(200, 50_100), LogTime(1100)), (LogTime(1200), None));
    // It comes back, jumps a little, and is followed.
    assert_eq!(clock.log_time(at(300, 9_000), LogTime(1200)), (LogTime(9000), None));
    assert_eq!(clock.log_time(at(400, 60_000), LogTime(9000)), (LogTime(9100), Some(50_900)));
}

#[test]
fn a_jump_back_and_the_return_from_it_are_followed() {
    let mut clock = Clock::new(at(0, 3_600_000), Duration::from_secs(10));
    assert_eq!(clock.log_time(at(10, 0), LogTime(3_600_000)), (LogTime(3_600_000), None));
    assert_eq!(clock.log_time(at(20, 3_600_020), LogTime(3_600_000)), (LogTime(3_600_020), None));
}

#[test]
fn absurd_clocks_do_no_harm() {
    let mut clock = Clock::new(at(0, u64::MAX), Duration::MAX);
    assert_eq!(clock.log_time(at(u64::MAX / 1_000_000, 0), LogTime(7)), (LogTime(7), None));
    let mut clock = Clock::new(at(1000, 0), Duration::ZERO);
    assert_eq!(clock.log_time(at(1000, u64::MAX), LogTime(7)).0, LogTime(7));
}

//! Schedules as files, and what a campaign of too little is told.

use quorate_simulation::campaign::{Requirements, Summary};
use quorate_simulation::schedule::{FaultKind, Generator, Schedule};
use quorate_simulation::world::reached;

#[test]
fn a_schedule_survives_being_written_down() {
    let schedule = Generator::default().schedule(3);
    let text = serde_json::to_string(&schedule).expect("plain data");
    assert_eq!(serde_json::from_str::<Schedule>(&text).expect("as written"), schedule);
}

#[test]
fn a_campaign_in_which_little_went_wrong_is_told_what_it_lacks() {
    let generator =
        Generator { kinds: vec![FaultKind::Crash, FaultKind::Pause, FaultKind::OldCopy], ..Generator::default() };
    let requirements =
        Requirements { acknowledged_median: 2_000, each_fault: 100, reached: vec![(reached::LEADER_ELECTED, 3_000)] };
    let mut summary = Summary { seeds: 2_000, acknowledged_median: 2_000, ..Summary::default() };
    summary.faults.insert(FaultKind::Crash, 200);
    summary.sometimes.insert(reached::LEADER_ELECTED, 5_999);
    let lacking = requirements.shortfalls(&summary, &generator);
    assert_eq!(lacking, ["pause: 0 of 200", "a leader was elected: 5999 of 6000"]);
    assert!(Requirements::apply_to(1_000) && !Requirements::apply_to(999));
    assert_eq!(summary.never_reached(&["a miracle"])[0], "a miracle");
}

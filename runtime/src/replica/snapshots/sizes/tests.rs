use quorate_protocol::LogIndex;

use super::{STRETCH_BYTES, Sizes};

fn of(count: u64, bytes: u64) -> Sizes {
    let mut sizes = Sizes::default();
    (1..=count).for_each(|index| sizes.push(LogIndex(index), bytes));
    sizes
}

#[test]
fn no_more_bytes_are_kept_than_are_allowed() {
    let sizes = of(1000, STRETCH_BYTES);
    assert_eq!(sizes.keep_from(LogIndex(900), 10 * STRETCH_BYTES), LogIndex(890));
    assert_eq!(sizes.keep_from(LogIndex(900), 0), LogIndex(900));
    assert_eq!(sizes.keep_from(LogIndex(900), u64::MAX), LogIndex(0));
}

#[test]
fn small_entries_are_told_apart_by_stretches() {
    let sizes = of(100_000, 100);
    let from = sizes.keep_from(LogIndex(100_000), 1 << 20);
    let kept_bytes = (100_000 - from.0) * 100;
    assert!((500_000..=1 << 20).contains(&kept_bytes), "{kept_bytes}");
}

#[test]
fn what_is_not_known_is_not_kept() {
    let mut sizes = Sizes::default();
    sizes.push(LogIndex(501), 1);
    assert_eq!(sizes.keep_from(LogIndex(501), u64::MAX), LogIndex(500));
    assert_eq!(Sizes::default().keep_from(LogIndex(7), u64::MAX), LogIndex(7));
}

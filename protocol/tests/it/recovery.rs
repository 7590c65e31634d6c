use quorate_protocol::{LogIndex, LogPosition, Recovery, Term};

#[test]
fn knows_the_term_of_every_place_it_holds() {
    let at = |index, term| LogPosition { index: LogIndex(index), term: Term(term) };
    let recovery =
        Recovery { base: at(10, 2), last: LogIndex(14), runs: vec![at(11, 2), at(13, 5)], ..Recovery::default() };
    let terms: Vec<Option<u64>> = (9..=15).map(|index| recovery.term_at(LogIndex(index)).map(|term| term.0)).collect();
    assert_eq!(terms, [None, Some(2), Some(2), Some(2), Some(5), Some(5), None]);
    assert!(!recovery.is_fresh());
    assert!(Recovery::default().is_fresh());
}

//! Points against a map that knows every entry.

use std::collections::BTreeMap;

use quorate_protocol::Random;

use super::deleted::Deleted;
use super::live::Live;
use super::place::Place;
use super::points::Points;

/// The place of each entry: segment and offset.
type Model = BTreeMap<u64, (u64, u32)>;

#[test]
fn points_agree_with_a_map_of_every_entry_and_keep_the_books() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (mut points, mut live, mut model) = (Points::default(), Live::default(), Model::new());
        let (mut segment, mut offset, mut base, mut next) = (1, 0_u32, 0, 1);
        for _ in 0..200 {
            offset += 4096;
            if offset > 300_000 {
                (segment, offset) = (segment + 1, 0);
            }
            match random.between(0, 20) {
                0 => {
                    let from = random.between(base + 1, next + 1);
                    points.remove_from(from, &mut live);
                    model.split_off(&from);
                    next = from;
                }
                1 => {
                    base = random.between(base, next);
                    points.remove_to(base, &mut live);
                    model = model.split_off(&(base + 1));
                }
                2..5 if next > base + 1 => {
                    let position = random.between(base + 1, next);
                    points.relocate(position, Place { segment, offset, charge: 77 }, &mut live);
                    model.insert(position, (segment, offset));
                }
                _ => {
                    points.append(next, Place { segment, offset, charge: 100 }, &mut live);
                    model.insert(next, (segment, offset));
                    next += 1;
                }
            }
            check(&points, &model, &live);
        }
    }
}

/// Every entry is in one point, in its segment, at or behind the point's place and within its span.
fn check(points: &Points, model: &Model, live: &Live) {
    let mut known = model.iter();
    let mut charges = 0;
    for point in points.iter() {
        charges += u64::from(point.charge);
        assert!(point.charge > 0);
        for position in point.first..point.end() {
            let (wanted, (segment, offset)) = known.next().expect("an entry for each position");
            assert_eq!((*wanted, *segment), (position, point.segment));
            assert!((point.offset..point.offset + 64 * 1024).contains(offset));
        }
    }
    assert_eq!(known.next(), None);
    assert_eq!(live.total(), charges);
    assert_eq!(live.oldest(), points.iter().map(|point| point.segment).min());
}

#[test]
fn deleted_ids_in_a_row_make_one_range() {
    let mut deleted = Deleted::default();
    for id in [5, 3, 9, 4, u64::MAX, 0] {
        assert!(!deleted.contains(id));
        deleted.insert(id);
        assert!(deleted.contains(id));
    }
    assert_eq!(deleted.ranges(), [0..=0, 3..=5, 9..=9, u64::MAX..=u64::MAX]);
    assert!(!deleted.contains(6));
}

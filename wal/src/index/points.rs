//! The places of a stream's entries: one point for each span of the log, not one for each entry.

use std::collections::VecDeque;

use super::live::Live;
use super::place::Place;

/// Consecutive entries that are found by reading forward from one place.
///
/// A point is 32 bytes and stands for all entries of its stream that begin within [`SPAN_BYTES`] behind it in the same
/// segment. These are 16 small entries if each was synced alone, hundreds if they were written together, and one in the
/// worst case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// Position of the first entry.
    pub(crate) first: u64,
    pub(crate) segment: u64,
    /// Number of entries.
    pub(crate) count: u32,
    /// Offset at which to begin to read: at the first entry or before it.
    pub(crate) offset: u32,
    /// Bytes that these entries take on disk.
    pub(crate) charge: u32,
    /// True if the next entry may be added. False once an entry was removed from its end.
    is_open: bool,
}

impl Point {
    fn new(position: u64, Place { segment, offset, charge }: Place) -> Self {
        Self { first: position, segment, count: 1, offset, charge, is_open: true }
    }

    /// The position behind the last one.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Returns true if one of its entries may begin at `offset` of its segment.
    pub(crate) fn reaches(&self, offset: u64) -> bool {
        offset < u64::from(self.offset) + u64::from(SPAN_BYTES)
    }

    /// Removes `count` entries, and subtracts their bytes from `live`.
    fn discharge(&mut self, count: u32, live: &mut Live) {
        let share = u64::from(self.charge) * u64::from(count) / u64::from(self.count);
        let share = u32::try_from(share).expect("no more than all of it");
        live.subtract(self.segment, u64::from(share));
        self.charge -= share;
        self.count -= count;
    }
}

/// The points of one stream, by position. They may leave gaps while a log is being opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Points {
    points: VecDeque<Point>,
}

impl Points {
    /// The position of the last entry.
    pub(crate) fn last(&self) -> Option<u64> {
        self.points.back().map(|point| point.end() - 1)
    }

    /// All points, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.points.iter()
    }

    /// The point that holds `position`, and those behind it.
    pub(crate) fn from(&self, position: u64) -> impl Iterator<Item = &Point> {
        self.points.range(self.points.partition_point(|point| point.end() <= position)..)
    }

    /// Adds the entry at `position`, behind all others.
    pub(crate) fn append(&mut self, position: u64, place: Place, live: &mut Live) {
        live.add(place.segment, u64::from(place.charge));
        match self.points.back_mut() {
            Some(point) if extends(point, position, place) => {
                point.count += 1;
                point.charge += place.charge;
            }
            _ => self.points.push_back(Point::new(position, place)),
        }
    }

    /// Removes the entries from `position` on.
    pub(crate) fn remove_from(&mut self, position: u64, live: &mut Live) {
        while let Some(point) = self.points.back_mut() {
            if point.end() <= position {
                break;
            }
            if point.first >= position {
                live.subtract(point.segment, u64::from(point.charge));
                self.points.pop_back();
                continue;
            }
            let count = u32::try_from(point.end() - position).expect("no more than its count");
            point.discharge(count, live);
        }
        if let Some(point) = self.points.back_mut() {
            point.is_open = false;
        }
    }

    /// Removes the entries up to and including `position`.
    pub(crate) fn remove_to(&mut self, position: u64, live: &mut Live) {
        while let Some(point) = self.points.front_mut() {
            if point.first > position {
                break;
            }
            if point.end() <= position + 1 {
                live.subtract(point.segment, u64::from(point.charge));
                self.points.pop_front();
                continue;
            }
            let count = u32::try_from(position + 1 - point.first).expect("no more than its count");
            point.discharge(count, live);
            point.first = position + 1;
        }
    }

    /// Notes the new place of the entry at `position`.
    pub(crate) fn relocate(&mut self, position: u64, place: Place, live: &mut Live) {
        self.take_out(position, live);
        live.add(place.segment, u64::from(place.charge));
        let at = self.points.partition_point(|point| point.first < position);
        if let Some(point) = at.checked_sub(1).and_then(|before| self.points.get_mut(before))
            && extends(point, position, place)
        {
            point.count += 1;
            point.charge += place.charge;
            return;
        }
        self.points.insert(at, Point::new(position, place));
    }

    fn take_out(&mut self, position: u64, live: &mut Live) {
        let at = self.points.partition_point(|point| point.end() <= position);
        let Some(point) = self.points.get_mut(at).filter(|point| point.first <= position) else { return };
        if point.count == 1 {
            live.subtract(point.segment, u64::from(point.charge));
            self.points.remove(at);
            return;
        }
        let behind = u32::try_from(point.end() - position - 1).expect("no more than its count");
        point.is_open = point.is_open && behind > 0;
        if position == point.first {
            point.discharge(1, live);
            point.first += 1;
            return;
        }
        let mut tail = *point;
        let share = u64::from(point.charge) * u64::from(behind) / u64::from(point.count);
        tail.charge = u32::try_from(share).expect("no more than all of it");
        tail.first = position + 1;
        tail.count = behind;
        point.charge -= tail.charge;
        point.count -= behind;
        point.discharge(1, live);
        if behind > 0 {
            point.is_open = false;
            self.points.insert(at + 1, tail);
        }
    }
}

/// Returns true if an entry at this place is found by reading on from `point`.
fn extends(point: &Point, position: u64, Place { segment, offset, charge }: Place) -> bool {
    point.is_open
        && point.segment == segment
        && point.end() == position
        && point.count < u32::MAX
        && offset >= point.offset
        && offset - point.offset < SPAN_BYTES
        && point.charge.checked_add(charge).is_some()
}

const SPAN_BYTES: u32 = 64 * 1024;
const _: () = assert!(size_of::<Point>() == 32);

//! Places on the earth as scores of sorted sets: geohashes of 52 bits, as Redis makes them.
//!
//! A cell is a rectangle of longitudes and latitudes. Step 0 is one cell for all; each step halves both sides. A score
//! is the cell of step 26, with the bits of latitude and longitude in turn.

/// A place, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

/// A rectangle of places. Numbers of rows and columns count from the south-west.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    column: u32,
    row: u32,
    step: u32,
}

/// The edges of a rectangle, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Edges {
    pub(super) west: f64,
    pub(super) south: f64,
    pub(super) east: f64,
    pub(super) north: f64,
}

impl Point {
    /// Returns true for a place that has a score.
    pub(super) fn is_valid(self) -> bool {
        self.longitude.abs() <= LONGITUDE_MAX && self.latitude.abs() <= LATITUDE_MAX
    }

    /// The score of the place.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn score(self) -> f64 {
        Cell::around(self, STEP_MAX).bits() as f64
    }

    /// The middle of the cell that a score stands for.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn of_score(score: f64) -> Self {
        let bits = score as u64;
        let edges = Cell { column: pick(bits >> 1), row: pick(bits), step: STEP_MAX }.edges();
        Self {
            longitude: f64::midpoint(edges.west, edges.east).clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: f64::midpoint(edges.south, edges.north).clamp(-LATITUDE_MAX, LATITUDE_MAX),
        }
    }

    /// The standard geohash of eleven letters, of which the last tells nothing.
    pub(super) fn geohash(self) -> String {
        let column = share(self.longitude, LONGITUDE_MAX, STEP_MAX);
        let row = share(self.latitude, 90.0, STEP_MAX);
        let bits = Cell { column, row, step: STEP_MAX }.bits();
        let letter = |place: u32| char::from(LETTERS[usize::try_from(bits >> (47 - 5 * place) & 31).unwrap_or(0)]);
        (0..10).map(letter).chain(['0']).collect()
    }

    /// The distance to another place in metres, on a sphere.
    pub(super) fn distance(self, other: Self) -> f64 {
        let half = ((other.longitude.to_radians() - self.longitude.to_radians()) / 2.0).sin();
        if half == 0.0 {
            return self.distance_in_latitude(other);
        }
        let (from, to) = (self.latitude.to_radians(), other.latitude.to_radians());
        let up = ((to - from) / 2.0).sin();
        2.0 * EARTH_RADIUS * (up * up + from.cos() * to.cos() * half * half).sqrt().asin()
    }

    /// The distance between the latitudes of two places in metres.
    pub(super) fn distance_in_latitude(self, other: Self) -> f64 {
        EARTH_RADIUS * (other.latitude.to_radians() - self.latitude.to_radians()).abs()
    }

    /// A rectangle that reaches this far in metres from a place in its middle.
    pub(super) fn surroundings(self, width: f64, height: f64) -> Edges {
        let up = (height / EARTH_RADIUS).to_degrees();
        // Degrees of longitude are shortest at the edge that is farther from the equator.
        let outer = if self.latitude < 0.0 { self.latitude - up } else { self.latitude + up };
        let aside = (width / EARTH_RADIUS / outer.to_radians().cos()).to_degrees();
        Edges {
            west: self.longitude - aside,
            south: self.latitude - up,
            east: self.longitude + aside,
            north: self.latitude + up,
        }
    }
}

impl Cell {
    /// The cell of a step in which a place lies.
    pub(super) fn around(point: Point, step: u32) -> Self {
        let column = share(point.longitude, LONGITUDE_MAX, step);
        Self { column, row: share(point.latitude, LATITUDE_MAX, step), step }
    }

    /// The cell that lies this many columns east and rows north, round the earth.
    pub(super) fn beside(self, columns: i32, rows: i32) -> Self {
        let mask = (1 << self.step) - 1;
        Self {
            column: self.column.wrapping_add_signed(columns) & mask,
            row: self.row.wrapping_add_signed(rows) & mask,
            step: self.step,
        }
    }

    /// The scores from the first to behind the last in the cell.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEP_MAX - self.step);
        ((self.bits() << shift) as f64, ((self.bits() + 1) << shift) as f64)
    }

    pub(super) fn edges(self) -> Edges {
        let count = 2_f64.powi(i32::try_from(self.step).unwrap_or(0));
        let at = |place: u32, max: f64, after: f64| -max + ((f64::from(place) + after) / count) * (2.0 * max);
        Edges {
            west: at(self.column, LONGITUDE_MAX, 0.0),
            south: at(self.row, LATITUDE_MAX, 0.0),
            east: at(self.column, LONGITUDE_MAX, 1.0),
            north: at(self.row, LATITUDE_MAX, 1.0),
        }
    }

    /// The bits of row and column in turn.
    fn bits(self) -> u64 {
        spread(self.row) | spread(self.column) << 1
    }
}

/// The part of a range from `-max` to `max` in which a number lies, if it is cut into two to the power of `step`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn share(number: f64, max: f64, step: u32) -> u32 {
    let share = (number + max) / (2.0 * max);
    (share * 2_f64.powi(i32::try_from(step).unwrap_or(0))) as u32
}

/// Puts a zero between each two bits.
fn spread(bits: u32) -> u64 {
    MASKS.iter().fold(u64::from(bits), |bits, (shift, mask)| (bits | bits << shift) & mask)
}

/// The opposite of [`spread`]; the bits between are passed over.
#[allow(clippy::cast_possible_truncation)]
fn pick(bits: u64) -> u32 {
    let mut bits = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in [(1, MASKS[3].1), (2, MASKS[2].1), (4, MASKS[1].1), (8, MASKS[0].1), (16, 0xffff_ffff)] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

const MASKS: [(u32, u64); 5] = [
    (16, 0x0000_ffff_0000_ffff),
    (8, 0x00ff_00ff_00ff_00ff),
    (4, 0x0f0f_0f0f_0f0f_0f0f),
    (2, 0x3333_3333_3333_3333),
    (1, 0x5555_5555_5555_5555),
];
const LONGITUDE_MAX: f64 = 180.0;
const LATITUDE_MAX: f64 = 85.051_128_78;
/// In metres.
const EARTH_RADIUS: f64 = 6_372_797.560_856;
/// The finest step.
pub(super) const STEP_MAX: u32 = 26;
const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_score_stands_for_a_place_nearby(longitude in -180.0..180.0, latitude in -85.05..85.05) {
            let point = Point { longitude, latitude };
            prop_assert!(point.distance(Point::of_score(point.score())) < 1.0);
            for step in [1, 7, 20] {
                let (first, behind) = Cell::around(point, step).scores();
                prop_assert!(first <= point.score() && point.score() < behind);
            }
        }

        #[test]
        fn neighbours_touch(longitude in -170.0..170.0, latitude in -80.0..80.0, step in 6..26_u32) {
            let cell = Cell::around(Point { longitude, latitude }, step);
            let (edges, east, north) = (cell.edges(), cell.beside(1, 0).edges(), cell.beside(0, 1).edges());
            prop_assert!((edges.east - east.west).abs() < 1e-9 && (edges.north - north.south).abs() < 1e-9);
            prop_assert_eq!(cell.beside(1, -1).beside(-1, 1), cell);
        }
    }
}

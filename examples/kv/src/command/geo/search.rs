//! Searches for members near a place.

use crate::resp::{Encoder, Reply};
use crate::store::{SortedSet, parse_double};

use super::super::context::{Change, View};
use super::super::errors::{integer, number, syntax_error};
use super::cell::{Cell, Edges, Point, STEP_MAX};
use super::{Done, place, point, put_distance, put_point, unit};

/// The way in which a command names the place in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// By longitude and latitude.
    Point,
    /// By a member.
    Member,
}

/// The area round the middle, in metres.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Circle(f64),
    /// Width and height.
    Rectangle(f64, f64),
}

/// A command of this module, which decides the options that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Radius { may_store: bool },
    Search { stores: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Any,
    Nearest,
    Farthest,
}

/// What is sought, and what is answered of each member.
struct Search<'a> {
    middle: Option<Point>,
    shape: Option<Shape>,
    /// The unit of distances, in metres.
    unit: f64,
    order: Order,
    /// Maximum number of members.
    count: Option<usize>,
    /// The first members that are found will do.
    takes_any: bool,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    /// The key for the members, whose scores are their distances if this is true.
    store: Option<(&'a [u8], bool)>,
}

/// A member that was found.
struct Found<'s> {
    member: &'s [u8],
    score: f64,
    point: Point,
    metres: f64,
}

fn distance(text: &[u8], what: &str) -> Result<f64, Reply> {
    parse_double(text).ok_or_else(|| Reply::error(format!("ERR need numeric {what}")))
}

fn radius_of(text: &[u8], unit_name: &[u8]) -> Result<(f64, f64), Reply> {
    let radius = distance(text, "radius")?;
    if radius < 0.0 {
        return Err(Reply::error("ERR radius cannot be negative"));
    }
    Ok((radius, unit(unit_name)?))
}

fn member_place(set: &SortedSet, member: &[u8]) -> Result<Point, Reply> {
    place(Some(set), member).ok_or_else(|| Reply::error("ERR could not decode requested zset member"))
}

impl<'a> Search<'a> {
    fn new() -> Self {
        Self {
            middle: None,
            shape: None,
            unit: 1.0,
            order: Order::Any,
            count: None,
            takes_any: false,
            with_distance: false,
            with_hash: false,
            with_place: false,
            store: None,
        }
    }

    /// From the arguments of `GEORADIUS` and its like behind the key.
    fn of_radius(set: Option<&SortedSet>, rest: &[&'a [u8]], origin: Origin, may_store: bool) -> Result<Self, Reply> {
        let mut search = Self::new();
        let behind = match origin {
            Origin::Point => {
                search.middle = Some(point(rest[0], rest[1])?);
                2
            }
            Origin::Member => {
                search.middle = set.map(|set| member_place(set, rest[0])).transpose()?;
                1
            }
        };
        if search.middle.is_some() {
            let (radius, unit) = radius_of(rest[behind], rest[behind + 1])?;
            search.set_shape(Shape::Circle(radius), unit);
        }
        search.options(set, &rest[behind + 2..], Form::Radius { may_store })?;
        search.check("STORE option in GEORADIUS")?;
        Ok(search)
    }

    /// From the arguments of `GEOSEARCH` and its like behind the key. `name` is that of the command.
    fn of_search(
        set: Option<&SortedSet>,
        rest: &[&'a [u8]],
        store: Option<&'a [u8]>,
        name: &str,
    ) -> Result<Self, Reply> {
        let mut search = Self::new();
        search.store = store.map(|key| (key, false));
        let (has_origin, has_shape) = search.options(set, rest, Form::Search { stores: store.is_some() })?;
        search.check_store("GEOSEARCHSTORE")?;
        let missing = |what| Reply::error(format!("ERR exactly one of {what} can be specified for {name}"));
        if !has_origin {
            return Err(missing("FROMMEMBER or FROMLONLAT"));
        }
        if !has_shape {
            return Err(missing("BYRADIUS and BYBOX"));
        }
        search.check("GEOSEARCHSTORE")?;
        Ok(search)
    }

    fn set_shape(&mut self, shape: Shape, unit: f64) {
        self.unit = unit;
        self.shape = Some(match shape {
            Shape::Circle(radius) => Shape::Circle(radius * unit),
            Shape::Rectangle(width, height) => Shape::Rectangle(width * unit, height * unit),
        });
    }

    /// Reads options. Returns whether a middle and a shape were named.
    fn options(&mut self, set: Option<&SortedSet>, options: &[&'a [u8]], form: Form) -> Result<(bool, bool), Reply> {
        let (mut has_origin, mut has_shape) = (None, None);
        let mut rest = options;
        while let Some((option, after)) = rest.split_first() {
            let is_search = matches!(form, Form::Search { .. });
            let taken = match (option.to_ascii_lowercase().as_slice(), after) {
                (b"count", [text, ..]) => {
                    let count = usize::try_from(integer(text)?).ok().filter(|count| *count > 0);
                    self.count = Some(count.ok_or_else(|| Reply::error("ERR COUNT must be > 0"))?);
                    1
                }
                (word @ (b"store" | b"storedist"), [key, ..]) if form == (Form::Radius { may_store: true }) => {
                    self.store = Some((key, word == b"storedist"));
                    1
                }
                (b"frommember", [member, ..]) if is_search && has_origin != Some(Origin::Point) => {
                    has_origin = Some(Origin::Member);
                    if let Some(set) = set {
                        self.middle = Some(member_place(set, member)?);
                    }
                    1
                }
                (b"fromlonlat", [longitude, latitude, ..]) if is_search && has_origin != Some(Origin::Member) => {
                    has_origin = Some(Origin::Point);
                    self.middle = Some(point(longitude, latitude)?);
                    2
                }
                (b"byradius", [radius, unit, ..]) if is_search && has_shape != Some(false) => {
                    has_shape = Some(true);
                    let (radius, unit) = radius_of(radius, unit)?;
                    self.set_shape(Shape::Circle(radius), unit);
                    2
                }
                (b"bybox", [width, height, name, ..]) if is_search && has_shape != Some(true) => {
                    has_shape = Some(false);
                    let (width, height) = (distance(width, "width")?, distance(height, "height")?);
                    if width < 0.0 || height < 0.0 {
                        return Err(Reply::error("ERR height or width cannot be negative"));
                    }
                    self.set_shape(Shape::Rectangle(width, height), unit(name)?);
                    3
                }
                (b"storedist", _) if form == (Form::Search { stores: true }) => {
                    self.store = self.store.map(|(key, _)| (key, true));
                    0
                }
                (word, _) => self.flag(word)?,
            };
            rest = &after[taken..];
        }
        Ok((has_origin.is_some(), has_shape.is_some()))
    }

    /// Reads an option of one word. Returns the number of arguments behind it, which is 0.
    fn flag(&mut self, word: &[u8]) -> Result<usize, Reply> {
        match word {
            b"withdist" => self.with_distance = true,
            b"withhash" => self.with_hash = true,
            b"withcoord" => self.with_place = true,
            b"any" => self.takes_any = true,
            b"asc" => self.order = Order::Nearest,
            b"desc" => self.order = Order::Farthest,
            _ => return Err(syntax_error()),
        }
        Ok(0)
    }

    fn check_store(&self, command: &str) -> Done {
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_place) {
            return Err(Reply::error(format!(
                "ERR {command} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        Ok(())
    }

    fn check(&self, command: &str) -> Done {
        self.check_store(command)?;
        if self.takes_any && self.count.is_none() {
            return Err(Reply::error("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    /// The members that were sought, in order.
    fn run<'s>(&self, set: Option<&'s SortedSet>) -> Vec<Found<'s>> {
        let (Some(set), Some(middle), Some(shape)) = (set, self.middle, self.shape) else {
            return Vec::new();
        };
        let most = self.count.unwrap_or(usize::MAX);
        let mut found = Vec::new();
        let mut before = None;
        for cell in shape.cells(middle) {
            if before == Some(cell) {
                continue;
            }
            before = Some(cell);
            let (first, behind) = cell.scores();
            let start = set.place(|score, _| score < first);
            for (score, member) in set.iter_from(start).take_while(|(score, _)| *score < behind) {
                if self.takes_any && found.len() >= most {
                    break;
                }
                let point = Point::of_score(score);
                if let Some(metres) = shape.distance_within(middle, point) {
                    found.push(Found { member, score, point, metres });
                }
            }
        }
        match self.order {
            Order::Any if self.count.is_none() || self.takes_any => {}
            Order::Any | Order::Nearest => found.sort_by(|one, other| one.metres.total_cmp(&other.metres)),
            Order::Farthest => found.sort_by(|one, other| other.metres.total_cmp(&one.metres)),
        }
        found.truncate(most);
        found
    }

    fn put(&self, found: &[Found<'_>], out: &mut Encoder<'_>) -> Done {
        let details =
            [self.with_distance, self.with_hash, self.with_place].into_iter().filter(|wanted| *wanted).count();
        out.array(found.len());
        for Found { member, score, point, metres } in found {
            if details > 0 {
                out.array(1 + details);
            }
            out.bulk(member);
            if self.with_distance {
                put_distance(*metres, self.unit, out);
            }
            if self.with_hash {
                #[allow(clippy::cast_possible_truncation)]
                out.integer(*score as i64);
            }
            if self.with_place {
                put_point(*point, out);
            }
            out.check_size()?;
        }
        Ok(())
    }

    /// Stores the members of a key that were sought.
    fn store(&self, change: &mut Change<'_>, key: &[u8], out: &mut Encoder<'_>) -> Done {
        let Some((target, by_distance)) = self.store else {
            let set = change.collection::<SortedSet>(key)?;
            return self.put(&self.run(set), out);
        };
        let mut built = SortedSet::default();
        for Found { member, score, metres, .. } in self.run(change.collection::<SortedSet>(key)?) {
            built.set(member, if by_distance { metres / self.unit } else { score });
        }
        out.integer(number(built.len()));
        change.store.put(target, built, None);
        Ok(())
    }
}

impl Shape {
    /// The distance of a place from the middle in metres, if it is within.
    fn distance_within(self, middle: Point, point: Point) -> Option<f64> {
        let is_within = match self {
            Self::Circle(radius) => return Some(middle.distance(point)).filter(|metres| *metres <= radius),
            Self::Rectangle(width, height) => {
                let aside = Point { longitude: middle.longitude, latitude: point.latitude };
                point.distance_in_latitude(middle) <= height / 2.0 && point.distance(aside) <= width / 2.0
            }
        };
        is_within.then(|| middle.distance(point))
    }

    /// The cells that cover the shape, in Redis's order: those in which members are sought.
    fn cells(self, middle: Point) -> Vec<Cell> {
        let (width, height, reach) = match self {
            Self::Circle(radius) => (radius, radius, radius),
            Self::Rectangle(width, height) => {
                let (width, height) = (width / 2.0, height / 2.0);
                (width, height, (width * width + height * height).sqrt())
            }
        };
        let wanted = middle.surroundings(width, height);
        let mut step = step(reach, middle.latitude);
        if step > 1 && !is_covered(Cell::around(middle, step), wanted) {
            step -= 1;
        }
        let cell = Cell::around(middle, step);
        let edges = cell.edges();
        let needed = |(columns, rows): &(i32, i32)| {
            step < 2
                || !(*rows < 0 && edges.south < wanted.south
                    || *rows > 0 && edges.north > wanted.north
                    || *columns < 0 && edges.west < wanted.west
                    || *columns > 0 && edges.east > wanted.east)
        };
        let around = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        around.into_iter().filter(needed).map(|(columns, rows)| cell.beside(columns, rows)).collect()
    }
}

/// Returns true if the cells beside one reach the edges of an area.
fn is_covered(cell: Cell, wanted: Edges) -> bool {
    let (north, south) = (cell.beside(0, 1).edges(), cell.beside(0, -1).edges());
    let (east, west) = (cell.beside(1, 0).edges(), cell.beside(-1, 0).edges());
    north.north >= wanted.north && south.south <= wanted.south && east.east >= wanted.east && west.west <= wanted.west
}

/// The step of cells of which nine reach this far in metres.
fn step(reach: f64, latitude: f64) -> u32 {
    if reach == 0.0 {
        return STEP_MAX;
    }
    let (mut reach, mut step) = (reach, 1_u32);
    while reach < EQUATOR_HALF {
        reach *= 2.0;
        step += 1;
    }
    // Cells are narrow near the poles.
    let narrow = u32::from(latitude.abs() > 66.0) + u32::from(latitude.abs() > 80.0);
    step.saturating_sub(2 + narrow).clamp(1, STEP_MAX)
}

/// Half of the way round the earth in metres.
const EQUATOR_HALF: f64 = 20_037_726.37;

pub(super) fn radius(change: &mut Change<'_>, rest: &[&[u8]], origin: Origin, out: &mut Encoder<'_>) -> Done {
    let search = Search::of_radius(change.collection(rest[0])?, &rest[1..], origin, true)?;
    search.store(change, rest[0], out)
}

pub(super) fn radius_read(view: &View<'_>, rest: &[&[u8]], origin: Origin, out: &mut Encoder<'_>) -> Done {
    let set = view.collection::<SortedSet>(rest[0])?;
    let search = Search::of_radius(set, &rest[1..], origin, false)?;
    search.put(&search.run(set), out)
}

pub(super) fn search(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let set = view.collection::<SortedSet>(rest[0])?;
    let search = Search::of_search(set, &rest[1..], None, "GEOSEARCH")?;
    search.put(&search.run(set), out)
}

pub(super) fn store(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let set = change.collection(rest[1])?;
    let search = Search::of_search(set, &rest[2..], Some(rest[0]), "GEOSEARCHSTORE")?;
    search.store(change, rest[1], out)
}

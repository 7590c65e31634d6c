//! Commands on places, which are members of sorted sets.

use crate::resp::{Encoder, Reply};
use crate::store::{SortedSet, format_decimals};

use super::context::{Change, View};
use super::errors::{double, is, syntax_error};
use super::sorted_sets;
use super::spec::{Keys, ONE_KEY, READ_SLOW, Spec, TWO_KEYS, WRITE_SLOW};

mod cell;
mod search;

use cell::Point;
use search::Origin;

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("geoadd", -5, ONE_KEY, add).flags(WRITE_SLOW).about("geo", "Sets the places of members."),
    Spec::read("geodist", -4, ONE_KEY, distance)
        .flags(READ_SLOW)
        .about("geo", "Returns the distance between two members."),
    Spec::read("geohash", -2, ONE_KEY, |view, rest, out| {
        each(view, rest, out, |point, out| match point {
            Some(point) => out.bulk(point.geohash().as_bytes()),
            None => out.null(),
        })
    })
    .flags(READ_SLOW)
    .about("geo", "Returns the geohashes of members."),
    Spec::read("geopos", -2, ONE_KEY, |view, rest, out| {
        each(view, rest, out, |point, out| match point {
            Some(point) => put_point(point, out),
            None => out.null_array(),
        })
    })
    .flags(READ_SLOW)
    .about("geo", "Returns the places of members."),
    Spec::write("georadius", -6, Keys::FirstAndStored(6), |change, rest, out| {
        search::radius(change, rest, Origin::Point, out)
    })
    .flags(STORES)
    .long()
    .about("geo", "Returns or stores the members within a distance from a place."),
    Spec::read("georadius_ro", -6, ONE_KEY, |view, rest, out| search::radius_read(view, rest, Origin::Point, out))
        .flags(READ_SLOW)
        .about("geo", "Returns the members within a distance from a place."),
    Spec::write("georadiusbymember", -5, Keys::FirstAndStored(5), |change, rest, out| {
        search::radius(change, rest, Origin::Member, out)
    })
    .flags(STORES)
    .long()
    .about("geo", "Returns or stores the members within a distance from a member."),
    Spec::read("georadiusbymember_ro", -5, ONE_KEY, |view, rest, out| {
        search::radius_read(view, rest, Origin::Member, out)
    })
    .flags(READ_SLOW)
    .about("geo", "Returns the members within a distance from a member."),
    Spec::read("geosearch", -7, ONE_KEY, search::search)
        .flags(READ_SLOW)
        .about("geo", "Returns the members in a circle or a rectangle."),
    Spec::write("geosearchstore", -8, TWO_KEYS, search::store)
        .flags(WRITE_SLOW)
        .about("geo", "Stores the members in a circle or a rectangle."),
];

const STORES: &[&str] = &["write", "denyoom", "movablekeys"];

/// A unit of distances, in metres.
fn unit(text: &[u8]) -> Result<f64, Reply> {
    match text.to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(Reply::error("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// A place from its longitude and latitude.
fn point(longitude: &[u8], latitude: &[u8]) -> Result<Point, Reply> {
    let point = Point { longitude: double(longitude)?, latitude: double(latitude)? };
    if point.is_valid() {
        return Ok(point);
    }
    let Point { longitude, latitude } = point;
    Err(Reply::error(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")))
}

fn put_point(point: Point, out: &mut Encoder<'_>) {
    out.array(2);
    for degrees in [point.longitude, point.latitude] {
        out.double_text(&format_decimals(degrees));
    }
}

fn put_distance(metres: f64, unit: f64, out: &mut Encoder<'_>) {
    out.bulk(format!("{:.4}", metres / unit).as_bytes());
}

fn place(set: Option<&SortedSet>, member: &[u8]) -> Option<Point> {
    set?.score(member).map(Point::of_score)
}

fn each(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>, put: impl Fn(Option<Point>, &mut Encoder<'_>)) -> Done {
    let set = view.collection::<SortedSet>(rest[0])?;
    out.array(rest.len() - 1);
    for member in &rest[1..] {
        put(place(set, member), out);
    }
    Ok(())
}

fn distance(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let unit = match rest[3..] {
        [] => 1.0,
        [name] => unit(name)?,
        _ => return Err(syntax_error()),
    };
    let set = view.collection::<SortedSet>(rest[0])?;
    match (place(set, rest[1]), place(set, rest[2])) {
        (Some(from), Some(to)) => put_distance(from.distance(to), unit, out),
        _ => out.null(),
    }
    Ok(())
}

fn add(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let is_option = |text: &&&[u8]| ["nx", "xx", "ch"].iter().any(|option| is(text, option));
    let options = rest[1..].iter().take_while(is_option).count();
    let (options, places) = rest[1..].split_at(options);
    let has = |option| options.iter().any(|known| is(known, option));
    if places.is_empty() || !places.len().is_multiple_of(3) || has("nx") && has("xx") {
        return Err(syntax_error());
    }
    let scores = places.chunks_exact(3).map(|place| Ok(point(place[0], place[1])?.score().to_string().into_bytes()));
    let scores: Vec<_> = scores.collect::<Result<_, Reply>>()?;
    let members = places.chunks_exact(3).map(|place| place[2]);
    let pairs = scores.iter().zip(members).flat_map(|(score, member)| [&score[..], member]);
    let arguments: Vec<&[u8]> = rest[..1].iter().chain(options).copied().chain(pairs).collect();
    sorted_sets::add(change, &arguments, out)
}

//! Scans in pieces: each reply names the cursor of the next.

use crate::resp::{Encoder, Reply};
use crate::store::{Hash, Record, Set, SortedSet, format_double};

use super::context::View;
use super::errors::{integer, is, syntax_error};
use super::glob;
use super::keys::kind;
use super::spec::{Keys, ONE_KEY, READ_SLOW, Spec};

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::read("hscan", -3, ONE_KEY, scan_hash).flags(READ_SLOW).about("hash", "Returns fields and values in pieces."),
    Spec::read("keys", 2, Keys::None, keys).flags(READ_SLOW).about("generic", "Returns the keys that match a pattern."),
    Spec::read("scan", -2, Keys::None, scan_keys).flags(READ_SLOW).about("generic", "Returns the keys in pieces."),
    Spec::read("sscan", -3, ONE_KEY, scan_set).flags(READ_SLOW).about("set", "Returns the members in pieces."),
    Spec::read("zscan", -3, ONE_KEY, scan_sorted_set)
        .flags(READ_SLOW)
        .about("sorted-set", "Returns members and scores in pieces."),
];

struct Options<'a> {
    cursor: u64,
    pattern: Option<&'a [u8]>,
    count: usize,
    kind: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(rest: &[&'a [u8]], may_have_type: bool) -> Result<Self, Reply> {
        let cursor = std::str::from_utf8(rest[0]).ok().and_then(|text| text.parse().ok());
        let cursor = cursor.ok_or_else(|| Reply::error("ERR invalid cursor"))?;
        let mut options = Self { cursor, pattern: None, count: 10, kind: None };
        for option in rest[1..].chunks(2) {
            match option {
                [name, value] if is(name, "match") => options.pattern = Some(value),
                [name, value] if is(name, "count") => {
                    let count = usize::try_from(integer(value)?).ok().filter(|count| *count > 0);
                    options.count = count.ok_or_else(syntax_error)?.min(COUNT_MAX);
                }
                [name, value] if is(name, "type") && may_have_type => options.kind = Some(value),
                _ => return Err(syntax_error()),
            }
        }
        Ok(options)
    }

    fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

fn keys(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let snapshot = view.store.snapshot();
    let found: Vec<&[u8]> = snapshot.keys(view.at.log_time).filter(|key| glob::matches(rest[0], key)).collect();
    out.array(found.len());
    for key in found {
        out.bulk(key);
        out.check_size()?;
    }
    Ok(())
}

/// A cursor and the items of a piece.
fn put<'a>(next: u64, items: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut Encoder<'_>) -> Done {
    out.array(2);
    out.bulk(next.to_string().as_bytes());
    out.array(items.len());
    for item in items {
        out.bulk(item);
        out.check_size()?;
    }
    Ok(())
}

fn scan_keys(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let options = Options::parse(rest, true)?;
    let (next, found) = view.store.scan(view.at.log_time, options.cursor, options.count);
    let found: Vec<&[u8]> = found
        .into_iter()
        .filter(|record| options.kind.is_none_or(|wanted| is(wanted, kind(record))))
        .map(Record::key)
        .filter(|key| options.matches(key))
        .collect();
    put(next, found.into_iter(), out)
}

fn scan_hash(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let options = Options::parse(&rest[1..], false)?;
    let members = view.collection::<Hash>(rest[0])?;
    let (next, found) = members.map_or((0, Vec::new()), |Hash(members)| members.scan(options.cursor, options.count));
    let found = found.into_iter().filter(|(field, _)| options.matches(field));
    put(next, found.flat_map(|(field, value)| [field, value]).collect::<Vec<_>>().into_iter(), out)
}

fn scan_set(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let options = Options::parse(&rest[1..], false)?;
    let members = view.collection::<Set>(rest[0])?;
    let (next, found) = members.map_or((0, Vec::new()), |Set(members)| members.scan(options.cursor, options.count));
    let found = found.into_iter().map(|(name, _)| name).filter(|name| options.matches(name));
    put(next, found.collect::<Vec<_>>().into_iter(), out)
}

fn scan_sorted_set(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let options = Options::parse(&rest[1..], false)?;
    let set = view.collection::<SortedSet>(rest[0])?;
    let (next, found) = set.map_or((0, Vec::new()), |set| set.scan(options.cursor, options.count));
    let found = found.into_iter().filter(|(_, member)| options.matches(member));
    let found: Vec<_> =
        found.flat_map(|(score, member)| [member.to_vec(), format_double(score).into_bytes()]).collect();
    put(next, found.iter().map(Vec::as_slice), out)
}

/// Maximum number of keys that one step looks at, since it holds up the loop.
const COUNT_MAX: usize = 10_000;

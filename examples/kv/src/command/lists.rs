//! Commands on lists.

use std::collections::BTreeSet;

use crate::resp::{Encoder, Reply};
use crate::store::{List, WrongType};

use super::context::{Arguments, Change, View};
use super::errors::{count, integer, is, no_such_key, number, syntax_error};
use super::spec::{Keys, ONE_KEY, READ_SLOW, SHRINK, SHRINK_MOVABLE, SHRINK_SLOW, Spec, TWO_KEYS, WRITE_SLOW};
use super::strings::within;

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::read("lindex", 3, ONE_KEY, index).flags(READ_SLOW).about("list", "Returns the item at a place."),
    Spec::write("linsert", 5, ONE_KEY, insert)
        .flags(WRITE_SLOW)
        .about("list", "Inserts an item before or after another."),
    Spec::read("llen", 2, ONE_KEY, |view, rest, out| {
        out.integer(number(view.collection::<List>(rest[0])?.map_or(0, List::len)));
        Ok(())
    })
    .about("list", "Counts the items."),
    Spec::write("lmove", 5, TWO_KEYS, |change, rest, out| {
        move_item(change, (rest[0], end(rest[2])?), (rest[1], end(rest[3])?), out)
    })
    .flags(WRITE_SLOW)
    .long()
    .about("list", "Moves an item from an end of a list to an end of another."),
    Spec::write("lmpop", -4, Keys::Counted(1), pop_from_first)
        .flags(SHRINK_MOVABLE)
        .long()
        .about("list", "Removes items from the first list that has some, and returns them."),
    Spec::write("lpop", -2, ONE_KEY, |change, rest, out| pop(change, rest, End::Front, out))
        .flags(SHRINK)
        .long()
        .about("list", "Removes the first items and returns them."),
    Spec::read("lpos", -3, ONE_KEY, positions).flags(READ_SLOW).about("list", "Returns the places of an item."),
    Spec::write("lpush", -3, ONE_KEY, |change, rest, out| push(change, rest, End::Front, false, out))
        .about("list", "Adds items before the first."),
    Spec::write("lpushx", -3, ONE_KEY, |change, rest, out| push(change, rest, End::Front, true, out))
        .about("list", "Adds items before the first, if the list exists."),
    Spec::read("lrange", 4, ONE_KEY, range).flags(READ_SLOW).about("list", "Returns the items of a range."),
    Spec::write("lrem", 4, ONE_KEY, remove).flags(SHRINK_SLOW).about("list", "Removes items that are equal to one."),
    Spec::write("lset", 4, ONE_KEY, set).flags(WRITE_SLOW).about("list", "Replaces the item at a place."),
    Spec::write("ltrim", 4, ONE_KEY, trim).flags(SHRINK_SLOW).about("list", "Removes the items outside of a range."),
    Spec::write("rpop", -2, ONE_KEY, |change, rest, out| pop(change, rest, End::Back, out))
        .flags(SHRINK)
        .long()
        .about("list", "Removes the last items and returns them."),
    Spec::write("rpoplpush", 3, TWO_KEYS, |change, rest, out| {
        move_item(change, (rest[0], End::Back), (rest[1], End::Front), out)
    })
    .flags(WRITE_SLOW)
    .long()
    .about("list", "Moves the last item of a list before the first of another."),
    Spec::write("rpush", -3, ONE_KEY, |change, rest, out| push(change, rest, End::Back, false, out))
        .about("list", "Adds items behind the last."),
    Spec::write("rpushx", -3, ONE_KEY, |change, rest, out| push(change, rest, End::Back, true, out))
        .about("list", "Adds items behind the last, if the list exists."),
];

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Front,
    Back,
}

pub(super) fn end(text: &[u8]) -> Result<End, Reply> {
    match text.to_ascii_lowercase().as_slice() {
        b"left" => Ok(End::Front),
        b"right" => Ok(End::Back),
        _ => Err(syntax_error()),
    }
}

impl End {
    fn push(self, list: &mut List, item: &[u8]) {
        match self {
            Self::Front => list.push_front(item),
            Self::Back => list.push_back(item),
        }
    }

    fn first(self, list: &List, count: usize) -> Vec<Vec<u8>> {
        match self {
            Self::Front => list.iter_from(0).take(count).map(<[u8]>::to_vec).collect(),
            Self::Back => list.iter_back_from(list.len()).take(count).map(<[u8]>::to_vec).collect(),
        }
    }

    /// Removes up to `count` items and returns them, in the order in which they would be removed one by one.
    pub(super) fn pop(self, change: &mut Change<'_>, key: &[u8], count: usize) -> Result<Vec<Vec<u8>>, WrongType> {
        change.update(key, |list: &mut List| {
            let items = self.first(list, count);
            match self {
                Self::Front => list.remove_front(items.len()),
                Self::Back => list.remove_back(items.len()),
            }
            items
        })
    }
}

/// The place of an item, counted from the end if it is negative.
fn place(length: usize, index: i64) -> Option<usize> {
    let place = if index < 0 { number(length).checked_add(index)? } else { index };
    usize::try_from(place).ok().filter(|place| *place < length)
}

fn index(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let list = view.collection::<List>(rest[0])?;
    let index = integer(rest[1])?;
    out.bulk_or_null(list.and_then(|list| list.get(place(list.len(), index)?)));
    Ok(())
}

fn range(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (start, end) = (integer(rest[1])?, integer(rest[2])?);
    let list = view.collection::<List>(rest[0])?;
    let Some((list, (start, end))) = list.and_then(|list| Some((list, within(list.len(), start, end)?))) else {
        out.array(0);
        return Ok(());
    };
    out.array(end - start);
    for item in list.iter_from(start).take(end - start) {
        out.bulk(item);
        out.check_size()?;
    }
    Ok(())
}

fn push(change: &mut Change<'_>, rest: &[&[u8]], end: End, if_present: bool, out: &mut Encoder<'_>) -> Done {
    let length = change.update(rest[0], |list: &mut List| {
        if !(if_present && list.is_empty()) {
            rest[1..].iter().for_each(|item| end.push(list, item));
        }
        list.len()
    })?;
    out.integer(number(length));
    Ok(())
}

fn pop(change: &mut Change<'_>, rest: &[&[u8]], end: End, out: &mut Encoder<'_>) -> Done {
    let wanted = match rest[1..] {
        [] => None,
        [wanted] => Some(count(wanted)?),
        _ => return Err(super::errors::wrong_arity(if end == End::Front { "lpop" } else { "rpop" })),
    };
    let is_absent = change.collection::<List>(rest[0])?.is_none();
    match wanted {
        Some(_) if is_absent => out.null_array(),
        Some(wanted) => put_items(&end.pop(change, rest[0], wanted)?, out),
        None => out.bulk_or_null(end.pop(change, rest[0], 1)?.first().map(Vec::as_slice)),
    }
    Ok(())
}

fn put_items(items: &[Vec<u8>], out: &mut Encoder<'_>) {
    out.array(items.len());
    for item in items {
        out.bulk(item);
    }
}

pub(super) fn pop_from_first(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (keys, options) = counted_keys(rest, syntax_error)?;
    let (end, wanted) = side_and_count(options, end)?;
    for key in keys {
        if change.collection::<List>(key)?.is_some() {
            let items = end.pop(change, key, wanted)?;
            out.array(2);
            out.bulk(key);
            put_items(&items, out);
            return Ok(());
        }
    }
    out.null_array();
    Ok(())
}

/// The end from which items are popped, and their number, which is 1 if it is not told.
pub(super) fn side_and_count<S>(
    options: Arguments<'_, '_>,
    side: impl Fn(&[u8]) -> Result<S, Reply>,
) -> Result<(S, usize), Reply> {
    match options {
        [end] => Ok((side(end)?, 1)),
        [end, word, wanted] if is(word, "count") => {
            let wanted = count(wanted).ok().filter(|wanted| *wanted > 0);
            Ok((side(end)?, wanted.ok_or_else(|| Reply::error("ERR count should be greater than 0"))?))
        }
        _ => Err(syntax_error()),
    }
}

/// The highest number of members to be counted, of which 0 stands for all.
pub(super) fn limit(options: Arguments<'_, '_>) -> Result<usize, Reply> {
    let limit = match options {
        [] => 0,
        [word, limit] if is(word, "limit") => count(limit).map_err(|_| Reply::error("ERR LIMIT can't be negative"))?,
        _ => return Err(syntax_error()),
    };
    Ok(if limit == 0 { usize::MAX } else { limit })
}

/// Keys behind their number, and what follows them.
pub(super) fn counted_keys<'b, 'a>(
    rest: Arguments<'b, 'a>,
    too_many: fn() -> Reply,
) -> Result<(Arguments<'b, 'a>, Arguments<'b, 'a>), Reply> {
    let wanted = count(rest[0]).ok().filter(|wanted| *wanted > 0);
    let wanted = wanted.ok_or_else(|| Reply::error("ERR numkeys should be greater than 0"))?;
    rest[1..].split_at_checked(wanted).ok_or_else(too_many)
}

/// Moves an item from an end of a list to an end of another.
pub(super) fn move_item(change: &mut Change<'_>, from: (&[u8], End), to: (&[u8], End), out: &mut Encoder<'_>) -> Done {
    let is_absent = change.collection::<List>(from.0)?.is_none();
    if is_absent {
        out.null();
        return Ok(());
    }
    change.collection::<List>(to.0)?;
    let items = from.1.pop(change, from.0, 1)?;
    for item in &items {
        change.update(to.0, |list: &mut List| to.1.push(list, item))?;
        out.bulk(item);
    }
    Ok(())
}

fn set(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let length = change.collection::<List>(rest[0])?.ok_or_else(no_such_key)?.len();
    let place = place(length, integer(rest[1])?).ok_or_else(|| Reply::error("ERR index out of range"))?;
    change.update(rest[0], |list: &mut List| list.replace(place, rest[2]))?;
    out.status("OK");
    Ok(())
}

fn insert(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let after = match rest[1].to_ascii_lowercase().as_slice() {
        b"before" => 0,
        b"after" => 1,
        _ => return Err(syntax_error()),
    };
    let length = change.update(rest[0], |list: &mut List| {
        if list.is_empty() {
            return 0;
        }
        let found = list.iter_from(0).position(|item| item == rest[2]);
        found.map_or(-1, |place| {
            list.insert(place + after, rest[3]);
            number(list.len())
        })
    })?;
    out.integer(length);
    Ok(())
}

fn remove(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let wanted = integer(rest[1])?;
    let most = match usize::try_from(wanted.unsigned_abs()) {
        Ok(most) if most > 0 => most,
        _ => usize::MAX,
    };
    let removed = change.update(rest[0], |list: &mut List| {
        let length = list.len();
        let places: BTreeSet<usize> = if wanted < 0 {
            let items = list.iter_back_from(length).enumerate().filter(|(_, item)| *item == rest[2]);
            items.map(|(back, _)| length - 1 - back).take(most).collect()
        } else {
            let items = list.iter_from(0).enumerate().filter(|(_, item)| *item == rest[2]);
            items.map(|(place, _)| place).take(most).collect()
        };
        if !places.is_empty() {
            list.remove_all(&places);
        }
        places.len()
    })?;
    out.integer(number(removed));
    Ok(())
}

fn trim(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (start, end) = (integer(rest[1])?, integer(rest[2])?);
    change.update(rest[0], |list: &mut List| {
        let (start, end) = within(list.len(), start, end).unwrap_or((0, 0));
        list.remove_back(list.len() - end);
        list.remove_front(start.min(list.len()));
    })?;
    out.status("OK");
    Ok(())
}

fn positions(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (mut rank, mut wanted, mut most) = (1_i64, None, usize::MAX);
    for option in rest[2..].chunks(2) {
        let [name, value] = option else {
            return Err(syntax_error());
        };
        let negative = |what: &str| Reply::error(format!("ERR {what} can't be negative"));
        if is(name, "rank") {
            rank = integer(value)?;
            if rank == 0 {
                return Err(Reply::error(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
                     negative to start from the end of the list",
                ));
            }
            if rank == i64::MIN {
                return Err(Reply::error("ERR value is out of range"));
            }
        } else if is(name, "count") {
            wanted = Some(usize::try_from(integer(value)?).map_err(|_| negative("COUNT"))?);
        } else if is(name, "maxlen") {
            most = usize::try_from(integer(value)?).map_err(|_| negative("MAXLEN"))?;
            most = if most == 0 { usize::MAX } else { most };
        } else {
            return Err(syntax_error());
        }
    }
    let list = view.collection::<List>(rest[0])?;
    let skipped = usize::try_from(rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let taken = wanted.map_or(1, |wanted| if wanted == 0 { usize::MAX } else { wanted });
    let found: Vec<usize> = list.map_or_else(Vec::new, |list| {
        if rank > 0 {
            let items = list.iter_from(0).take(most).enumerate().filter(|(_, item)| *item == rest[1]);
            items.map(|(place, _)| place).skip(skipped).take(taken).collect()
        } else {
            let items = list.iter_back_from(list.len()).take(most).enumerate().filter(|(_, item)| *item == rest[1]);
            items.map(|(back, _)| list.len() - 1 - back).skip(skipped).take(taken).collect()
        }
    });
    match (wanted, found.first()) {
        (Some(_), _) => {
            out.array(found.len());
            for place in found {
                out.integer(number(place));
            }
        }
        (None, Some(place)) => out.integer(number(*place)),
        (None, None) => out.null(),
    }
    Ok(())
}

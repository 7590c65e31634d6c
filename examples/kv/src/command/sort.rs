//! `SORT`.

use std::cmp::Ordering;

use crate::resp::{Encoder, Reply};
use crate::store::{Hash, List, Set, SortedSet, Value, WrongType, parse_double};

use super::context::{Change, View};
use super::errors::{integer, number, syntax_error};
use super::spec::{Keys, ONE_KEY, READ_MOVABLE, Spec, WRITE_MOVABLE};

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("sort", -2, Keys::FirstAndStored(2), sort)
        .flags(WRITE_MOVABLE)
        .long()
        .about("generic", "Sorts the items of a list or set, and returns or stores them."),
    Spec::read("sort_ro", -2, ONE_KEY, |view, rest, out| {
        let options = Options::parse(&rest[1..], false)?;
        put(sorted(view, rest[0], &options)?, out)
    })
    .flags(READ_MOVABLE)
    .about("generic", "Sorts the items of a list or set, and returns them."),
];

#[derive(Default)]
struct Options<'a> {
    /// The pattern of the keys by which items are sorted.
    by: Option<&'a [u8]>,
    limit: Option<(i64, i64)>,
    /// The patterns of the keys whose values are returned.
    gets: Vec<&'a [u8]>,
    is_falling: bool,
    by_text: bool,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(options: &[&'a [u8]], may_store: bool) -> Result<Self, Reply> {
        let mut parsed = Self::default();
        let mut options = options;
        while let Some((option, after)) = options.split_first() {
            options = match (option.to_ascii_lowercase().as_slice(), after) {
                (b"asc", after) => {
                    parsed.is_falling = false;
                    after
                }
                (b"desc", after) => {
                    parsed.is_falling = true;
                    after
                }
                (b"alpha", after) => {
                    parsed.by_text = true;
                    after
                }
                (b"limit", [skipped, taken, after @ ..]) => {
                    parsed.limit = Some((integer(skipped)?, integer(taken)?));
                    after
                }
                (b"by", [pattern, after @ ..]) => {
                    parsed.by = Some(pattern);
                    after
                }
                (b"get", [pattern, after @ ..]) => {
                    parsed.gets.push(pattern);
                    after
                }
                (b"store", [key, after @ ..]) if may_store => {
                    parsed.store = Some(key);
                    after
                }
                _ => return Err(syntax_error()),
            };
        }
        Ok(parsed)
    }

    /// Items are left in their order by a pattern that names no key.
    fn sorts(&self) -> bool {
        self.by.is_none_or(|pattern| pattern.contains(&b'*'))
    }
}

/// The value of the key that a pattern names for an item: its first `*` stands for the item, and a field of a hash may
/// follow `->`. `#` is the item itself.
fn look_up<'a>(view: &View<'a>, pattern: &[u8], item: &'a [u8]) -> Option<&'a [u8]> {
    if pattern == b"#" {
        return Some(item);
    }
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = after.windows(2).position(|pair| pair == b"->").filter(|arrow| arrow + 2 < after.len());
    let (after, field) = arrow.map_or((after, None), |arrow| (&after[..arrow], Some(&after[arrow + 2..])));
    let key = [before, item, after].concat();
    match field {
        None => view.text(&key).ok()?,
        Some(field) => view.collection::<Hash>(&key).ok()??.0.get(field),
    }
}

fn items<'a>(view: &View<'a>, key: &[u8], options: &Options<'_>) -> Result<Vec<&'a [u8]>, WrongType> {
    let Some(record) = view.store.get(view.at.log_time, key) else {
        return Ok(Vec::new());
    };
    Ok(match record.as_value() {
        Some(Value::List(list)) => List::iter_from(list, 0).collect(),
        Some(Value::Set(Set(members))) => members.iter().map(|(name, _)| name).collect(),
        Some(Value::SortedSet(set)) if !options.sorts() && options.is_falling => {
            set.iter_back_from(set.len()).map(|(_, member)| member).collect()
        }
        Some(Value::SortedSet(set)) => SortedSet::iter_from(set, 0).map(|(_, member)| member).collect(),
        _ => return Err(WrongType),
    })
}

fn sorted<'a>(view: &View<'a>, key: &[u8], options: &Options<'_>) -> Result<Vec<Option<&'a [u8]>>, Reply> {
    let mut items = items(view, key, options)?;
    if options.sorts() {
        let weights = items.iter().map(|item| match options.by {
            Some(pattern) => look_up(view, pattern, item),
            None => Some(*item),
        });
        let weights: Vec<Option<&[u8]>> = weights.collect();
        let numbers = weights.iter().map(|text| match text {
            Some(text) if !options.by_text => parse_double(text),
            _ => Some(0.0),
        });
        let numbers: Option<Vec<f64>> = numbers.collect();
        let numbers = numbers.ok_or_else(|| Reply::error("ERR One or more scores can't be converted into double"))?;
        let mut places: Vec<usize> = (0..items.len()).collect();
        places.sort_by(|left, right| {
            let order = if options.by_text {
                weights[*left].cmp(&weights[*right])
            } else {
                numbers[*left].total_cmp(&numbers[*right])
            };
            // Equal ones by their own bytes, so that the order is the same on every replica.
            let order = order.then_with(|| {
                if options.by_text && options.by.is_some() { Ordering::Equal } else { items[*left].cmp(items[*right]) }
            });
            if options.is_falling { order.reverse() } else { order }
        });
        items = places.into_iter().map(|place| items[place]).collect();
    }
    let (skipped, taken) = options.limit.unwrap_or((0, -1));
    let skipped = usize::try_from(skipped).unwrap_or(0);
    let taken = usize::try_from(taken).unwrap_or(usize::MAX);
    let items = items.into_iter().skip(skipped).take(taken);
    Ok(if options.gets.is_empty() {
        items.map(Some).collect()
    } else {
        items.flat_map(|item| options.gets.iter().map(move |pattern| look_up(view, pattern, item))).collect()
    })
}

fn put(items: Vec<Option<&[u8]>>, out: &mut Encoder<'_>) -> Done {
    out.array(items.len());
    for item in items {
        out.bulk_or_null(item);
        out.check_size()?;
    }
    Ok(())
}

fn sort(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let options = Options::parse(&rest[1..], true)?;
    let view = change.view();
    let items = sorted(&view, rest[0], &options)?;
    let Some(key) = options.store else {
        return put(items, out);
    };
    let list: List = items.into_iter().map(Option::unwrap_or_default).collect();
    out.integer(number(list.len()));
    change.store.put(key, list, None);
    Ok(())
}

//! Commands on streams.

use crate::resp::{Encoder, Reply};
use crate::store::{Stream, StreamEntry, StreamId};

use super::context::{Change, View};
use super::errors::{integer, is, no_such_key, number, syntax_error, wrong_arity};
use super::spec::{Keys, ONE_KEY, READ_SLOW, SHRINK, SHRINK_SLOW, Spec, Timeout, WRITE};

mod claim;
mod group;
mod info;
mod parse;
mod pending;
mod read;

pub(super) use read::fix_places;

use parse::{Interval, NewId, add_or_trim, strict_id};

type Done = Result<(), Reply>;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::write("xack", -4, ONE_KEY, pending::acknowledge)
        .flags(SHRINK)
        .about("stream", "Acknowledges entries that a group has delivered."),
    Spec::write("xadd", -5, ONE_KEY, add).flags(WRITE).about("stream", "Adds an entry to a stream."),
    Spec::write("xautoclaim", -6, ONE_KEY, claim::claim_idle)
        .flags(SHRINK)
        .long()
        .about("stream", "Gives a consumer the entries of a group that nobody acknowledged for a time."),
    Spec::write("xclaim", -6, ONE_KEY, claim::claim)
        .flags(SHRINK)
        .long()
        .about("stream", "Gives a consumer entries that another one has not acknowledged."),
    Spec::write("xdel", -3, ONE_KEY, remove).flags(SHRINK).about("stream", "Removes entries of a stream."),
    Spec::write("xgroup", -2, SECOND, group::manage)
        .flags(SHRINK_SLOW)
        .container()
        .about("stream", "Adds, changes and removes groups and their consumers."),
    Spec::read("xinfo", -2, SECOND, info::inform)
        .flags(READ_SLOW)
        .container()
        .about("stream", "Tells about a stream, its groups, or their consumers."),
    Spec::read("xlen", 2, ONE_KEY, |view, rest, out| {
        out.integer(number(view.collection::<Stream>(rest[0])?.map_or(0, Stream::len)));
        Ok(())
    })
    .about("stream", "Counts the entries of a stream."),
    Spec::read("xpending", -3, ONE_KEY, pending::list)
        .flags(READ_SLOW)
        .about("stream", "Tells which entries of a group are not acknowledged."),
    Spec::read("xrange", -4, ONE_KEY, |view, rest, out| range(view, rest, false, out))
        .flags(READ_SLOW)
        .about("stream", "Returns the entries in a range of ids."),
    Spec::read("xread", -4, Keys::Streams, read::read)
        .waits(Timeout::Block)
        .flags(&["readonly", "blocking", "movablekeys"])
        .about("stream", "Returns entries behind given ids of streams, and may wait for some."),
    Spec::write("xreadgroup", -7, Keys::Streams, read::read_as_member)
        .waits(Timeout::Block)
        .flags(&["write", "blocking", "movablekeys"])
        .about("stream", "Delivers entries of streams to a consumer of a group, and may wait for some."),
    Spec::read("xrevrange", -4, ONE_KEY, |view, rest, out| range(view, rest, true, out))
        .flags(READ_SLOW)
        .about("stream", "Returns the entries in a range of ids, the last one first."),
    Spec::write("xsetid", -3, ONE_KEY, set_id).flags(WRITE).about("stream", "Sets the last id of a stream."),
    Spec::write("xtrim", -4, ONE_KEY, trim)
        .flags(SHRINK_SLOW)
        .about("stream", "Removes the first entries of a stream."),
];

/// The second argument is the key.
const SECOND: Keys = Keys::Range(2, 2, 1);

fn put_id(id: StreamId, out: &mut Encoder<'_>) {
    out.bulk(id.to_string().as_bytes());
}

fn put_entry(entry: StreamEntry<'_>, out: &mut Encoder<'_>) -> Done {
    out.array(2);
    put_id(entry.id, out);
    out.array(entry.texts().count());
    for text in entry.texts() {
        out.bulk(text);
    }
    out.check_size()
}

fn put_entries<'a>(entries: impl Iterator<Item = StreamEntry<'a>>, out: &mut Encoder<'_>) -> Done {
    let entries: Vec<_> = entries.collect();
    out.array(entries.len());
    entries.into_iter().try_for_each(|entry| put_entry(entry, out))
}

fn add(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (options, texts) = add_or_trim(&rest[1..], true)?;
    if texts.len() < 2 || !texts.len().is_multiple_of(2) {
        return Err(wrong_arity("xadd"));
    }
    if options.id == NewId::Given(StreamId::MIN) {
        return Err(Reply::error("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let stream = change.collection::<Stream>(rest[0])?;
    if stream.is_none() && options.needs_stream {
        out.null();
        return Ok(());
    }
    let last = stream.map_or(StreamId::MIN, Stream::last_id);
    let Some(next) = last.next() else {
        return Err(Reply::error("ERR The stream has exhausted the last possible ID, unable to add more items"));
    };
    let id = match options.id {
        NewId::Given(id) => id,
        NewId::Time if change.log_time > last.ms => StreamId { ms: change.log_time, seq: 0 },
        NewId::Time => next,
        NewId::InMs(ms) if ms == last.ms => next,
        NewId::InMs(ms) => StreamId { ms, seq: 0 },
    };
    if matches!(options.id, NewId::InMs(ms) if id.ms != ms) {
        return Err(Reply::error("ERR Elements are too large to be stored"));
    }
    if id <= last {
        return Err(Reply::error("ERR The ID specified in XADD is equal or smaller than the target stream top item"));
    }
    change.update(rest[0], |stream: &mut Stream| {
        stream.append(id, texts);
        options.trim.map(|trim| trim.run(stream));
    })?;
    put_id(id, out);
    Ok(())
}

fn trim(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (options, _) = add_or_trim(&rest[1..], false)?;
    let trim = options.trim.expect("it was asked for");
    let is_there = change.collection::<Stream>(rest[0])?.is_some();
    let removed = if is_there { change.update(rest[0], |stream: &mut Stream| trim.run(stream))? } else { 0 };
    out.integer(number(removed));
    Ok(())
}

fn remove(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    if change.collection::<Stream>(rest[0])?.is_none() {
        out.integer(0);
        return Ok(());
    }
    let ids = rest[1..].iter().map(|id| strict_id(id)).collect::<Result<Vec<_>, _>>()?;
    let removed = change.update(rest[0], |stream: &mut Stream| ids.iter().filter(|id| stream.remove(**id)).count())?;
    out.integer(number(removed));
    Ok(())
}

fn range(view: &View<'_>, rest: &[&[u8]], is_reversed: bool, out: &mut Encoder<'_>) -> Done {
    let (start, end) = if is_reversed { (rest[2], rest[1]) } else { (rest[1], rest[2]) };
    let Interval { start, end } = Interval::parse(start, end)?;
    let mut wanted = None;
    for option in rest[3..].chunks(2) {
        let [word, text] = option else {
            return Err(syntax_error());
        };
        if !is(word, "count") {
            return Err(syntax_error());
        }
        wanted = Some(usize::try_from(integer(text)?).unwrap_or(0));
    }
    let Some(stream) = view.collection::<Stream>(rest[0])? else {
        out.array(0);
        return Ok(());
    };
    match wanted {
        Some(0) => out.null_array(),
        wanted => {
            let wanted = wanted.unwrap_or(usize::MAX);
            if is_reversed {
                put_entries(stream.range_back(start, end).take(wanted), out)?;
            } else {
                put_entries(stream.range(start, end).take(wanted), out)?;
            }
        }
    }
    Ok(())
}

fn set_id(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let id = strict_id(rest[1])?;
    let (mut added, mut deleted) = (None, None);
    for option in rest[2..].chunks(2) {
        match option {
            [word, text] if is(word, "entriesadded") => {
                let count = u64::try_from(integer(text)?);
                added = Some(count.map_err(|_| Reply::error("ERR entries_added must be positive"))?);
            }
            [word, text] if is(word, "maxdeletedid") => {
                deleted = Some(strict_id(text)?);
                if deleted > Some(id) {
                    return Err(Reply::error(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                    ));
                }
            }
            _ => return Err(syntax_error()),
        }
    }
    let stream = change.collection::<Stream>(rest[0])?.ok_or_else(no_such_key)?;
    if stream.len() > 0 && id < stream.end_id() {
        return Err(Reply::error("ERR The ID specified in XSETID is smaller than the target stream top item"));
    }
    if stream.len() > 0 && added.is_some_and(|added| added < stream.len() as u64) {
        return Err(Reply::error("ERR The entries_added specified in XSETID is smaller than the target stream length"));
    }
    let deleted = deleted.filter(|id| *id != StreamId::MIN);
    change.update(rest[0], |stream: &mut Stream| stream.set_ids(id, added, deleted))?;
    out.status("OK");
    Ok(())
}

fn no_group(key: &[u8], group: &[u8], behind: &str) -> Reply {
    let parts = [&b"NOGROUP No such key '"[..], key, b"' or consumer group '", group, b"'", behind.as_bytes()];
    Reply::Error(parts.concat())
}

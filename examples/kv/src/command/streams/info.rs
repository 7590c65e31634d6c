//! `XINFO`.

use crate::resp::Encoder;
use crate::store::{Consumer, Group, Pending, Stream, StreamId};

use super::super::context::View;
use super::super::errors::{integer, is, no_such_key, number};
use super::group::{no_such_group, subcommand, wrong_options};
use super::{Done, put_entries, put_entry, put_id};

/// The subcommands with their numbers of arguments behind their name.
const SUBCOMMANDS: [(&str, i64); 3] = [("consumers", 2), ("groups", 1), ("stream", -1)];

pub(super) fn inform(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let name = subcommand("xinfo", &SUBCOMMANDS, rest)?;
    let stream = view.collection::<Stream>(rest[1])?.ok_or_else(no_such_key)?;
    match name {
        "consumers" => {
            let group = stream.group(rest[2]).ok_or_else(|| no_such_group(rest[2], rest[1]))?;
            out.array(group.consumers().len());
            for (name, consumer) in group.consumers() {
                out.map(3);
                field("name", out).bulk(name);
                field("pending", out).integer(number(consumer.pending()));
                field("idle", out).integer(wide(view.at.now.saturating_sub(consumer.seen)));
            }
            Ok(())
        }
        "groups" => {
            out.array(stream.groups().len());
            for (name, group) in stream.groups() {
                out.map(6);
                field("name", out).bulk(name);
                field("consumers", out).integer(number(group.consumers().len()));
                field("pending", out).integer(number(group.pending()));
                put_place(stream, group, out);
            }
            Ok(())
        }
        _ => inform_of_stream(stream, rest, out),
    }
}

fn field<'b, 'a>(name: &str, out: &'b mut Encoder<'a>) -> &'b mut Encoder<'a> {
    out.bulk(name.as_bytes());
    out
}

fn wide(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn put_place(stream: &Stream, group: &Group, out: &mut Encoder<'_>) {
    put_id(group.last_id, field("last-delivered-id", out));
    put_known(group.entries_read.map(wide), field("entries-read", out));
    put_known(stream.lag(group), field("lag", out));
}

fn put_known(number: Option<i64>, out: &mut Encoder<'_>) {
    match number {
        Some(number) => out.integer(number),
        None => out.null(),
    }
}

fn inform_of_stream(stream: &Stream, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let full = match rest[2..] {
        [] => None,
        [word] if is(word, "full") => Some(FULL_COUNT),
        [word, option, count] if is(word, "full") && is(option, "count") => {
            Some(usize::try_from(integer(count)?).unwrap_or(FULL_COUNT))
        }
        _ => return Err(wrong_options("XINFO", rest[0])),
    };
    out.map(if full.is_some() { 9 } else { 10 });
    field("length", out).integer(number(stream.len()));
    // The sizes of a tree that Redis has, and that is not here.
    let blocks = stream.len().div_ceil(BLOCK_ENTRIES);
    field("radix-tree-keys", out).integer(number(blocks));
    field("radix-tree-nodes", out).integer(number(blocks + 1));
    put_id(stream.last_id(), field("last-generated-id", out));
    put_id(stream.max_deleted_id(), field("max-deleted-entry-id", out));
    field("entries-added", out).integer(wide(stream.entries_added()));
    put_id(stream.first_id(), field("recorded-first-entry-id", out));
    let Some(count) = full else {
        field("groups", out).integer(number(stream.groups().len()));
        for (name, id) in [("first-entry", stream.first_id()), ("last-entry", stream.end_id())] {
            match stream.get(id) {
                Some(entry) => put_entry(entry, field(name, out))?,
                None => field(name, out).null(),
            }
        }
        return Ok(());
    };
    let count = if count == 0 { usize::MAX } else { count };
    put_entries(stream.range(StreamId::MIN, StreamId::MAX).take(count), field("entries", out))?;
    field("groups", out).array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(7);
        field("name", out).bulk(name);
        put_place(stream, group, out);
        put_pending(group.pending(), group.iter_from(StreamId::MIN).take(count), true, out)?;
        field("consumers", out).array(group.consumers().len());
        for (name, consumer) in group.consumers() {
            put_consumer(group, name, consumer, count, out)?;
        }
    }
    Ok(())
}

fn put_consumer(group: &Group, name: &[u8], consumer: &Consumer, count: usize, out: &mut Encoder<'_>) -> Done {
    out.map(4);
    field("name", out).bulk(name);
    field("seen-time", out).integer(wide(consumer.seen));
    put_pending(consumer.pending(), group.iter_of(consumer, StreamId::MIN).take(count), false, out)
}

/// The number of entries that are not acknowledged, and some of them.
fn put_pending<'a>(
    all: usize,
    shown: impl Iterator<Item = Pending<'a>>,
    with_consumers: bool,
    out: &mut Encoder<'_>,
) -> Done {
    field("pel-count", out).integer(number(all));
    let shown: Vec<_> = shown.collect();
    field("pending", out).array(shown.len());
    for pending in shown {
        out.array(if with_consumers { 4 } else { 3 });
        put_id(pending.id, out);
        if with_consumers {
            out.bulk(pending.consumer);
        }
        out.integer(wide(pending.delivered));
        out.integer(wide(pending.deliveries));
        out.check_size()?;
    }
    Ok(())
}

/// Maximum number of entries that are shown if it is not told.
const FULL_COUNT: usize = 10;
/// Number of entries that Redis keeps in one piece.
const BLOCK_ENTRIES: usize = 100;

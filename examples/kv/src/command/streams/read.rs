//! `XREAD` and `XREADGROUP`.

use crate::resp::{Encoder, Reply, Version};
use crate::store::{Pending, Stream, StreamId, WrongType};

use super::super::blocking::milliseconds;
use super::super::context::{Change, View};
use super::super::errors::{integer, syntax_error};
use super::parse::strict_id;
use super::{Done, no_group, put_entries, put_entry, put_id};

/// The arguments of a read behind its name.
struct Options<'b, 'a> {
    /// Maximum number of entries of each stream.
    count: usize,
    /// Nobody has to acknowledge what is delivered.
    is_final: bool,
    /// The group and the consumer.
    member: Option<(&'a [u8], &'a [u8])>,
    keys: &'b [&'a [u8]],
    ids: &'b [&'a [u8]],
}

/// The entries that a client wants of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Those behind an id.
    Behind(StreamId),
    /// Those that the group has not delivered.
    New,
}

impl<'b, 'a> Options<'b, 'a> {
    fn parse(rest: &'b [&'a [u8]], is_member: bool) -> Result<Self, Reply> {
        let mut options = Self { count: usize::MAX, is_final: false, member: None, keys: &[], ids: &[] };
        let mut after = rest;
        while let Some((option, behind)) = after.split_first() {
            after = behind;
            match option.to_ascii_lowercase().as_slice() {
                b"block" if !behind.is_empty() => {
                    milliseconds(behind[0])?;
                    after = &behind[1..];
                }
                b"count" if !behind.is_empty() => {
                    let count = usize::try_from(integer(behind[0])?).unwrap_or(0);
                    options.count = if count == 0 { usize::MAX } else { count };
                    after = &behind[1..];
                }
                b"streams" if !behind.is_empty() => {
                    if !behind.len().is_multiple_of(2) {
                        return Err(Reply::error(
                            "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
                        ));
                    }
                    (options.keys, options.ids) = behind.split_at(behind.len() / 2);
                    break;
                }
                b"group" if behind.len() >= 2 => {
                    if !is_member {
                        return Err(Reply::error(
                            "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                        ));
                    }
                    options.member = Some((behind[0], behind[1]));
                    after = &behind[2..];
                }
                b"noack" if is_member => options.is_final = true,
                b"noack" => {
                    return Err(Reply::error(
                        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                _ => return Err(syntax_error()),
            }
        }
        if options.keys.is_empty() {
            return Err(syntax_error());
        }
        if is_member && options.member.is_none() {
            return Err(Reply::error("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(options)
    }

    /// What is wanted of each stream. `find` gives the stream of a key.
    fn places<'s>(&self, find: impl Fn(&[u8]) -> Result<Option<&'s Stream>, WrongType>) -> Result<Vec<From>, Reply> {
        let places = self.keys.iter().zip(self.ids).map(|(key, id)| {
            let stream = find(key)?;
            if let Some((group, _)) = self.member
                && stream.and_then(|stream| stream.group(group)).is_none()
            {
                return Err(no_group(key, group, " in XREADGROUP with GROUP option"));
            }
            match (*id, self.member) {
                (b"$", None) => Ok(From::Behind(stream.map_or(StreamId::MIN, Stream::last_id))),
                (b"$", Some(_)) => Err(Reply::error(MEANINGLESS)),
                (b">", None) => Err(Reply::error(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
                     option.",
                )),
                (b">", Some(_)) => Ok(From::New),
                (id, _) => strict_id(id).map(From::Behind),
            }
        });
        places.collect()
    }
}

/// Replaces `$` by the last id of its stream, so that a read that is tried again does not pass over entries. `None` if
/// there is nothing to be replaced.
pub(in crate::command) fn fix_places(view: &View<'_>, arguments: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
    let options = Options::parse(&arguments[1..], false).ok()?;
    let places = options.places(|key| view.collection(key)).ok()?;
    if !options.ids.contains(&&b"$"[..]) {
        return None;
    }
    let kept = arguments.len() - places.len();
    let ids = places.iter().map(|place| match place {
        From::Behind(id) => id.to_string().into_bytes(),
        From::New => b">".to_vec(),
    });
    Some(arguments[..kept].iter().map(|argument| argument.to_vec()).chain(ids).collect())
}

pub(super) fn read(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let options = Options::parse(rest, false)?;
    let places = options.places(|key| view.collection(key))?;
    let mut found = Vec::new();
    for (key, place) in options.keys.iter().zip(places) {
        if let (Some(stream), From::Behind(id)) = (view.collection::<Stream>(key)?, place)
            && stream.len() > 0
            && stream.end_id() > id
            && let Some(start) = id.next()
        {
            found.push((*key, stream, start));
        }
    }
    put_head(found.len(), out);
    for (key, stream, start) in found {
        put_key(key, out);
        put_entries(stream.range(start, StreamId::MAX).take(options.count), out)?;
    }
    Ok(())
}

/// The head of the streams with entries.
fn put_head(count: usize, out: &mut Encoder<'_>) {
    match (count, out.version()) {
        (0, _) => out.null_array(),
        (count, Version::Resp2) => out.array(count),
        (count, Version::Resp3) => out.map(count),
    }
}

fn put_key(key: &[u8], out: &mut Encoder<'_>) {
    if out.version() == Version::Resp2 {
        out.array(2);
    }
    out.bulk(key);
}

pub(super) fn read_as_member(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let options = Options::parse(rest, true)?;
    let places = options.places(|key| change.collection(key))?;
    let (group, consumer) = options.member.expect("the options name it");
    let now = change.log_time;
    let mut found = Vec::new();
    for (key, place) in options.keys.iter().zip(places) {
        match place {
            From::New => {
                let delivered = change.update(key, |stream: &mut Stream| {
                    stream.deliver(group, consumer, options.count, options.is_final, now)
                })?;
                found.extend(delivered.map(|ends| (*key, Ok(ends))));
            }
            From::Behind(id) => found.push((*key, Err(deliver_again(change, key, &options, id)?))),
        }
    }
    put_head(found.len(), out);
    for (key, found) in found {
        put_key(key, out);
        let stream = change.collection::<Stream>(key)?;
        match (found, stream) {
            (Ok((first, last)), Some(stream)) => put_entries(stream.range(first, last), out)?,
            (Err(ids), Some(stream)) => put_history(stream, &ids, out)?,
            (_, None) => unreachable!("its entries were delivered"),
        }
    }
    Ok(())
}

/// Counts one more delivery of the entries that a consumer has behind an id, and returns them.
fn deliver_again(
    change: &mut Change<'_>,
    key: &[u8],
    options: &Options<'_, '_>,
    id: StreamId,
) -> Result<Vec<StreamId>, Reply> {
    let (group, consumer) = options.member.expect("the options name it");
    let now = change.log_time;
    let ids = change.update(key, |stream: &mut Stream| {
        stream.change_group(group, |group| group.see(consumer, now));
        let Some(start) = id.next() else {
            return Vec::new();
        };
        let known = stream.group(group).and_then(|group| {
            let pending = group.iter_of(group.consumer(consumer)?, start);
            Some(pending.take(options.count).map(|pending| (pending.id, pending.deliveries)).collect::<Vec<_>>())
        });
        let known = known.unwrap_or_default();
        let there: Vec<_> = known.iter().filter(|(id, _)| stream.get(*id).is_some()).copied().collect();
        stream.change_group(group, |group| {
            for (id, deliveries) in there {
                group.assign(Pending { id, delivered: now, deliveries: deliveries + 1, consumer });
            }
        });
        known.into_iter().map(|(id, _)| id).collect()
    })?;
    Ok(ids)
}

/// Entries by their ids. Those that were removed have no fields.
fn put_history(stream: &Stream, ids: &[StreamId], out: &mut Encoder<'_>) -> Done {
    out.array(ids.len());
    for id in ids {
        if let Some(entry) = stream.get(*id) {
            put_entry(entry, out)?;
        } else {
            out.array(2);
            put_id(*id, out);
            out.null_array();
        }
    }
    Ok(())
}

const MEANINGLESS: &str = "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
                           this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID \
                           would just return an empty result set.";

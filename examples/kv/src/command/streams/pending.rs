//! `XACK` and `XPENDING`.

use crate::resp::{Encoder, Reply};
use crate::store::{Group, Stream, StreamId};

use super::super::context::{Change, View};
use super::super::errors::{integer, is, number, syntax_error};
use super::parse::{Interval, strict_id};
use super::{Done, no_group, put_id};

pub(super) fn acknowledge(change: &mut Change<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, group) = (rest[0], rest[1]);
    let known = change.collection::<Stream>(key)?.and_then(|stream| stream.group(group));
    if known.is_none() {
        out.integer(0);
        return Ok(());
    }
    let ids = rest[2..].iter().map(|id| strict_id(id)).collect::<Result<Vec<_>, _>>()?;
    let acknowledged = change.update(key, |stream: &mut Stream| {
        stream.change_group(group, |group| ids.iter().filter(|id| group.acknowledge(**id)).count())
    })?;
    out.integer(number(acknowledged.unwrap_or(0)));
    Ok(())
}

pub(super) fn list(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let wanted = match rest[2..] {
        [] => None,
        ref options if (3..=6).contains(&options.len()) => Some(Wanted::parse(options)?),
        _ => return Err(syntax_error()),
    };
    let group = view.collection::<Stream>(rest[0])?.and_then(|stream| stream.group(rest[1]));
    let group = group.ok_or_else(|| no_group(rest[0], rest[1], ""))?;
    match wanted {
        None => sum_up(group, out),
        Some(wanted) => wanted.put(view, group, out)?,
    }
    Ok(())
}

fn sum_up(group: &Group, out: &mut Encoder<'_>) {
    out.array(4);
    out.integer(number(group.pending()));
    let (Some(first), Some(last)) = (group.iter_from(StreamId::MIN).next(), group.last_pending()) else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    put_id(first.id, out);
    put_id(last.id, out);
    let busy: Vec<_> = group.consumers().filter(|(_, consumer)| consumer.pending() > 0).collect();
    out.array(busy.len());
    for (name, consumer) in busy {
        out.array(2);
        out.bulk(name);
        out.bulk(consumer.pending().to_string().as_bytes());
    }
}

/// The entries that a client asks for.
struct Wanted<'a> {
    idle_min: u64,
    ids: Interval,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    fn parse(options: &[&'a [u8]]) -> Result<Self, Reply> {
        let (idle_min, options) = match options {
            [word, idle, rest @ ..] if is(word, "idle") => {
                let idle = u64::try_from(integer(idle)?).unwrap_or(0);
                (idle, if rest.len() >= 3 { rest } else { return Err(syntax_error()) })
            }
            options => (0, options),
        };
        let count = usize::try_from(integer(options[2])?).unwrap_or(0);
        Ok(Self { idle_min, ids: Interval::parse(options[0], options[1])?, count, consumer: options.get(3).copied() })
    }

    fn put(&self, view: &View<'_>, group: &Group, out: &mut Encoder<'_>) -> Done {
        let consumer = self.consumer.map(|name| group.consumer(name));
        let now = view.at.now;
        let (of_all, of_one) = match consumer {
            None => (Some(group.iter_from(self.ids.start)), None),
            Some(consumer) => (None, consumer.map(|consumer| group.iter_of(consumer, self.ids.start))),
        };
        let pending = of_all.into_iter().flatten().chain(of_one.into_iter().flatten());
        let pending = pending.take_while(|pending| pending.id <= self.ids.end);
        let found: Vec<_> = pending
            .map(|pending| (pending, now.saturating_sub(pending.delivered)))
            .filter(|(_, idle)| *idle >= self.idle_min)
            .take(self.count)
            .collect();
        out.array(found.len());
        for (pending, idle) in found {
            out.array(4);
            put_id(pending.id, out);
            out.bulk(pending.consumer);
            out.integer(i64::try_from(idle).unwrap_or(i64::MAX));
            out.integer(i64::try_from(pending.deliveries).unwrap_or(i64::MAX));
            out.check_size()?;
        }
        Ok(())
    }
}

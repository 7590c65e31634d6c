//! Ids, ranges of ids, and the options of `XADD` and `XTRIM`.

use crate::resp::Reply;
use crate::store::{Stream, StreamId};

use super::super::errors::{integer, is, syntax_error};

fn wrong_id() -> Reply {
    Reply::error("ERR Invalid stream ID specified as stream command argument")
}

fn whole(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// An id whose second part may be missing, and is `seq` then.
fn id_of(text: &[u8], seq: u64) -> Option<StreamId> {
    match text.iter().position(|byte| *byte == b'-') {
        None => Some(StreamId { ms: whole(text)?, seq }),
        Some(at) => Some(StreamId { ms: whole(&text[..at])?, seq: whole(&text[at + 1..])? }),
    }
}

/// An id, but not `-` or `+`.
pub(super) fn strict_id(text: &[u8]) -> Result<StreamId, Reply> {
    id_of(text, 0).ok_or_else(wrong_id)
}

/// An id, or `-` or `+`.
pub(super) fn any_id(text: &[u8], seq: u64) -> Result<StreamId, Reply> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        text => id_of(text, seq).ok_or_else(wrong_id),
    }
}

/// A range of ids, with both ends.
pub(super) struct Interval {
    pub(super) start: StreamId,
    pub(super) end: StreamId,
}

impl Interval {
    pub(super) fn parse(start: &[u8], end: &[u8]) -> Result<Self, Reply> {
        let start = start_of_interval(start)?;
        let end = match excluded(end) {
            None => any_id(end, u64::MAX)?,
            Some(end) => {
                let end = id_of(end, u64::MAX).ok_or_else(wrong_id)?;
                end.previous().ok_or_else(|| Reply::error("ERR invalid end ID for the interval"))?
            }
        };
        Ok(Self { start, end })
    }
}

/// The first id of a range.
pub(super) fn start_of_interval(text: &[u8]) -> Result<StreamId, Reply> {
    match excluded(text) {
        None => any_id(text, 0),
        Some(text) => {
            let next = strict_id(text)?.next();
            next.ok_or_else(|| Reply::error("ERR invalid start ID for the interval"))
        }
    }
}

fn excluded(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"(").filter(|rest| !rest.is_empty())
}

/// The id of an entry that is to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewId {
    /// The next one by the log's time.
    Time,
    /// The next one of this time.
    InMs(u64),
    /// This one.
    Given(StreamId),
}

/// The options of `XADD` and `XTRIM`.
pub(super) struct AddOrTrim {
    pub(super) id: NewId,
    /// The stream is not to be created.
    pub(super) needs_stream: bool,
    pub(super) trim: Option<Trim>,
}

/// What is removed from the start of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trim {
    rule: Rule,
    /// Only whole blocks of entries are removed.
    is_about: bool,
    /// Maximum number of entries that are removed.
    limit: usize,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    MaxLen(usize),
    MinId(StreamId),
}

impl Trim {
    /// Removes entries and returns their number.
    pub(super) fn run(self, stream: &mut Stream) -> usize {
        let surplus = match self.rule {
            Rule::MaxLen(length) => stream.len().saturating_sub(length),
            Rule::MinId(id) => stream.count_before(id),
        };
        let mut count = surplus.min(self.limit);
        if self.is_about && count < stream.len() {
            // Blocks begin at whole hundreds of the entries that were ever added.
            let length = u64::try_from(stream.len()).unwrap_or(u64::MAX);
            let gone = stream.entries_added().saturating_sub(length) % BLOCK_ENTRIES as u64;
            let gone = usize::try_from(gone).expect("it is less than a block");
            count = ((gone + count) / BLOCK_ENTRIES * BLOCK_ENTRIES).saturating_sub(gone);
        }
        stream.remove_front(count);
        count
    }
}

/// The options of `XADD`, or of `XTRIM`, behind the key, and what follows the id.
pub(super) fn add_or_trim<'b, 'a>(options: &'b [&'a [u8]], adds: bool) -> Result<(AddOrTrim, &'b [&'a [u8]]), Reply> {
    let (mut id, mut needs_stream, mut rule, mut is_about, mut limit) = (None, false, None, false, None);
    let mut rest = options;
    while let Some((option, after)) = rest.split_first().filter(|_| id.is_none()) {
        rest = after;
        let is_maxlen = is(option, "maxlen");
        if adds && *option == b"*" {
            id = Some(NewId::Time);
        } else if (is_maxlen || is(option, "minid")) && !after.is_empty() {
            if rule.is_some() {
                return Err(Reply::error(
                    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                ));
            }
            is_about = after.len() >= 2 && after[0] == b"~";
            let skipped = usize::from(is_about || after.len() >= 2 && after[0] == b"=");
            rule = Some(if is_maxlen { max_len(after[skipped])? } else { Rule::MinId(any_id(after[skipped], 0)?) });
            rest = &after[skipped + 1..];
        } else if is(option, "limit") && !after.is_empty() {
            let entries = usize::try_from(integer(after[0])?);
            limit = Some(entries.map_err(|_| Reply::error("ERR The LIMIT argument must be >= 0."))?);
            rest = &after[1..];
        } else if adds && is(option, "nomkstream") {
            needs_stream = true;
        } else if adds {
            id = Some(new_id(option)?);
        } else {
            return Err(syntax_error());
        }
    }
    if limit.is_some_and(|limit| limit > 0) && rule.is_none() {
        return Err(Reply::error("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"));
    }
    if !adds && rule.is_none() {
        return Err(Reply::error("ERR syntax error, XTRIM must be called with a trimming strategy"));
    }
    if limit.is_some() && !is_about {
        return Err(Reply::error("ERR syntax error, LIMIT cannot be used without the special ~ option"));
    }
    let limit = limit.unwrap_or(if is_about { ABOUT_LIMIT } else { 0 });
    let limit = if limit == 0 { usize::MAX } else { limit };
    let trim = rule.map(|rule| Trim { rule, is_about, limit });
    Ok((AddOrTrim { id: id.unwrap_or(NewId::Time), needs_stream, trim }, rest))
}

fn max_len(text: &[u8]) -> Result<Rule, Reply> {
    let length = usize::try_from(integer(text)?);
    length.map(Rule::MaxLen).map_err(|_| Reply::error("ERR The MAXLEN argument must be >= 0."))
}

fn new_id(text: &[u8]) -> Result<NewId, Reply> {
    match text.strip_suffix(b"-*") {
        Some(ms) => whole(ms).map(NewId::InMs).ok_or_else(wrong_id),
        None => strict_id(text).map(NewId::Given),
    }
}

/// Number of entries that `~` removes at once, as many as Redis keeps in one piece.
const BLOCK_ENTRIES: usize = 100;
/// Maximum number of entries that `~` removes if no limit is told.
const ABOUT_LIMIT: usize = 100 * BLOCK_ENTRIES;

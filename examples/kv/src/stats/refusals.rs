//! What clients of a node were refused (`ACL LOG`).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::command::Denied;
use crate::resp::Reply;

/// The newest refusals. Equal ones within a minute are one.
#[derive(Debug, Default)]
pub struct Refusals {
    rows: VecDeque<Row>,
}

/// What was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `auth`, `command`, `key` or `channel`.
    pub reason: &'static str,
    /// The name of the command, key or channel.
    pub object: Vec<u8>,
}

#[derive(Debug)]
struct Row {
    count: i64,
    refusal: Refusal,
    context: &'static str,
    user: Vec<u8>,
    client: String,
    /// Microseconds by the node's clock.
    at: u64,
}

impl Refusal {
    /// What a user may not do.
    pub fn of(denied: &Denied) -> Self {
        let (reason, object) = match denied {
            Denied::Command(name) => ("command", name.clone().into_bytes()),
            Denied::Key(key) => ("key", key.clone()),
            Denied::Channel(channel) => ("channel", channel.clone()),
            Denied::UnnamedKeys(_) => ("key", b"*".to_vec()),
        };
        Self { reason, object }
    }
}

impl Refusals {
    /// Notes a refusal at this time by the node's clock in microseconds. `client` is its line of `CLIENT LIST`.
    pub fn note(&mut self, refusal: Refusal, context: &'static str, user: Vec<u8>, client: String, now: u64) {
        let mut refusal = refusal;
        refusal.object.truncate(OBJECT_BYTES_MAX);
        let is_same = |row: &Row| {
            let is_recent = now.saturating_sub(row.at) <= MERGED_MICROS;
            is_recent && row.refusal == refusal && row.context == context && row.user == user
        };
        if let Some(place) = self.rows.iter().position(is_same)
            && let Some(mut row) = self.rows.remove(place)
        {
            (row.count, row.client, row.at) = (row.count + 1, client, now);
            self.rows.push_front(row);
            return;
        }
        self.rows.push_front(Row { count: 1, refusal, context, user, client, at: now });
        self.rows.truncate(ROWS_MAX);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// The newest refusals as the reply to `ACL LOG`.
    #[allow(clippy::cast_precision_loss)]
    pub fn reply(&self, count: usize, now: u64) -> Reply {
        let row = |row: &Row| {
            let bytes = |bytes: &[u8]| Reply::Bulk(Bytes::copy_from_slice(bytes));
            let age = now.saturating_sub(row.at) as f64 / 1e6;
            Reply::Map(vec![
                (Reply::bulk("count"), Reply::Integer(row.count)),
                (Reply::bulk("reason"), Reply::bulk(row.refusal.reason)),
                (Reply::bulk("context"), Reply::bulk(row.context)),
                (Reply::bulk("object"), bytes(&row.refusal.object)),
                (Reply::bulk("username"), bytes(&row.user)),
                (Reply::bulk("age-seconds"), Reply::bulk(format!("{age:.3}"))),
                (Reply::bulk("client-info"), Reply::bulk(row.client.clone())),
            ])
        };
        Reply::Array(self.rows.iter().take(count).map(row).collect())
    }
}

/// Refusals within this time are counted in one row.
const MERGED_MICROS: u64 = 60_000_000;
const ROWS_MAX: usize = 128;
const OBJECT_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_refusals_are_counted_and_others_are_bounded() {
        let mut refusals = Refusals::default();
        let key = |key: usize| Refusal::of(&Denied::Key(vec![b'k'; key]));
        for now in [0, MERGED_MICROS, 3 * MERGED_MICROS] {
            refusals.note(key(1), "toplevel", b"u".to_vec(), String::new(), now);
        }
        assert_eq!(refusals.rows.iter().map(|row| row.count).collect::<Vec<_>>(), [1, 2]);
        for length in 0..1000 {
            refusals.note(key(length), "toplevel", b"u".to_vec(), String::new(), 0);
        }
        refusals.note(key(1_000_000), "multi", b"u".to_vec(), String::new(), 0);
        assert_eq!((refusals.rows.len(), refusals.rows[0].refusal.object.len()), (ROWS_MAX, OBJECT_BYTES_MAX));
        let Reply::Array(shown) = refusals.reply(3, 0) else { panic!("a list") };
        assert_eq!(shown.len(), 3);
    }
}

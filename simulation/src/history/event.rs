//! The lines of a history file.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// One line of a history file: a client called, or learned what became of its call.
///
/// ```
/// use quorate_simulation::history::{Event, EventKind, Function};
/// let line = r#"{"process":1,"type":"invoke","f":"write","key":"x","value":7,"time":1000}"#;
/// let event: Event = serde_json::from_str(line)?;
/// assert_eq!((event.kind, event.function), (EventKind::Invoke, Function::Write));
/// assert_eq!(serde_json::to_string(&event)?, line);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Which client: it has at most one call under way. After `info` it may call again.
    pub process: u64,
    /// Whether this is the call or its end.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// What was called.
    #[serde(rename = "f")]
    pub function: Function,
    /// Which register; nothing for transactions.
    #[serde(default, deserialize_with = "optional_key", skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The value written or read (null: absent, or not yet known), `[old, new]` of a cas, the list of a transaction.
    #[serde(default)]
    pub value: Value,
    /// When, in nanoseconds on a clock that all lines share. Lines of equal time follow each other as in the file.
    pub time: u64,
}

/// Whether an event is a call or what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The client calls.
    Invoke,
    /// The call took effect, with this value.
    Ok,
    /// The call certainly took no effect and never will.
    Fail,
    /// Nobody knows: it may take effect any time later, or never. A time-out is this.
    Info,
}

/// What a client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// Reads a register.
    Read,
    /// Writes a register; null removes the value.
    Write,
    /// Writes a register if it holds the old value.
    Cas,
    /// Appends to lists and reads lists, all at once.
    Txn,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Cas => "cas",
            Self::Txn => "txn",
        })
    }
}

/// The text of a key: recorders write strings or whole numbers.
pub(super) fn key_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

fn optional_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if value.is_null() {
        return Ok(None);
    }
    key_text(&value).map(Some).ok_or_else(|| serde::de::Error::custom("a key is a string or a whole number"))
}

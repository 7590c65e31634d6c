//! One event of a file, and the errors of a file.

use std::fmt;
use std::io;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::datum::Datum;
use super::{EventKind, Function, HistoryEvent, Key};

/// An event with its value in the original notation.
pub(super) struct Recorded {
    pub(super) process: u64,
    pub(super) kind: EventKind,
    pub(super) function: Function,
    pub(super) key: Option<Key>,
    pub(super) value: Datum,
    pub(super) time: u64,
}

impl Recorded {
    pub(super) fn read(line: &str) -> Result<Self, String> {
        /// Like [`HistoryEvent`], but with numbers as text.
        #[derive(Deserialize)]
        struct Line<'a> {
            process: u64,
            #[serde(rename = "type")]
            kind: EventKind,
            #[serde(rename = "f")]
            function: Function,
            #[serde(default, borrow)]
            key: Option<&'a RawValue>,
            #[serde(default, borrow)]
            value: Option<&'a RawValue>,
            time: u64,
        }
        let Line { process, kind, function, key, value, time } =
            serde_json::from_str(line).map_err(|error| error.to_string())?;
        let value = value.map_or(Ok(Datum::Null), |value| Datum::parse(value.get()))?;
        let key = key.map_or(Ok(None), |key| key_of(key.get()))?;
        Ok(Self { process, kind, function, key, value, time })
    }
}

/// The key in a line; `None` for null.
fn key_of(text: &str) -> Result<Option<Key>, String> {
    // Most keys have this form.
    let plain = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|text| !text.contains('\\'));
    if let Some(plain) = plain {
        return Ok(Some(Key::from(plain)));
    }
    match Datum::parse(text)? {
        Datum::Null => Ok(None),
        key => Key::of_datum(&key).map(Some).ok_or_else(|| "a key is a string or a whole number".to_owned()),
    }
}

impl From<HistoryEvent> for Recorded {
    fn from(event: HistoryEvent) -> Self {
        let HistoryEvent { process, kind, function, key, value, time } = event;
        Self { process, kind, function, key, value: Datum::from(&value), time }
    }
}

/// Reason why a file is not a history.
#[derive(Debug)]
#[non_exhaustive]
pub enum HistoryError {
    /// The file cannot be read.
    Io(io::Error),
    /// A line is not an event, or contradicts those before it.
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// Description of the problem.
        problem: String,
    },
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the history cannot be read: {error}"),
            Self::Line { line, problem } => write!(f, "line {line}: {problem}"),
        }
    }
}

impl std::error::Error for HistoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Line { .. } => None,
        }
    }
}

//! From the lines of a file to calls with their answers.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::datum::Datum;
use super::{Event, EventKind, Function, Key, Reading, jepsen};

/// What clients called and learned, in the order it happened.
///
/// ```
/// use quorate_simulation::history::{Budget, History, Verdict};
/// let lines = r#"
/// {"process":1,"type":"invoke","f":"write","key":"x","value":7,"time":10}
/// {"process":1,"type":"ok","f":"write","key":"x","value":7,"time":20}
/// {"process":2,"type":"invoke","f":"read","key":"x","value":null,"time":30}
/// {"process":2,"type":"ok","f":"read","key":"x","value":null,"time":40}
/// "#;
/// let judgement = History::read(lines.as_bytes())?.judge(Budget::default());
/// assert_eq!(judgement.verdict(), Verdict::Violated);
/// # Ok::<(), quorate_simulation::history::HistoryError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The calls, in the order they were made.
    pub(super) calls: Vec<Call>,
    /// How many events bear an earlier time than the one before.
    pub(super) times_back: usize,
}

/// A call with what became of it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) process: u64,
    pub(super) function: Function,
    pub(super) key: Option<Key>,
    /// As called.
    pub(super) called: Datum,
    /// As answered `ok`, or as an `info` transaction says that it read; null otherwise.
    pub(super) answered: Datum,
    pub(super) outcome: Outcome,
    /// The event's number, and its time in nanoseconds.
    pub(super) invoked: (u64, u64),
    /// As `invoked`, of the answer.
    pub(super) returned: Option<(u64, u64)>,
    pub(super) line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    Fail,
    Unknown,
}

impl History {
    /// Reads the lines of a file, in their order, whatever their times. Empty lines are skipped.
    ///
    /// # Errors
    /// When a line is not an event, or does not follow from those before it: an answer without a call, a call of a process
    /// that waits for an answer.
    pub fn read(lines: impl BufRead) -> Result<Self, HistoryError> {
        Self::read_as(lines, Reading::default())
    }

    /// As [`History::read`], with what a file that Jepsen wrote leaves open. For JSON it makes no difference.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn read_as(mut lines: impl BufRead, reading: Reading) -> Result<Self, HistoryError> {
        let mut events = Vec::new();
        let mut line = String::new();
        for number in 1.. {
            let start = line.len();
            if lines.read_line(&mut line).map_err(HistoryError::Io)? == 0 {
                break;
            }
            let content = line[start..].trim();
            match Form::of(content) {
                // Blank lines at the start are kept, so that those of what follows are counted right.
                None => continue,
                Some(form) if form == Form::Json || !events.is_empty() => {
                    let event = Recorded::read(content);
                    events.push((number, event.map_err(|problem| HistoryError::Line { line: number, problem })?));
                }
                Some(Form::Edn) => {
                    lines.read_to_string(&mut line).map_err(HistoryError::Io)?;
                    return Self::pair(jepsen::edn(&line, reading)?);
                }
                Some(_) => {
                    let as_json = Recorded::read(content).map(|_| Self::default());
                    lines.read_to_string(&mut line).map_err(HistoryError::Io)?;
                    let events = jepsen::console(&line, reading)?;
                    if events.is_empty() {
                        // No line tells of an operation: it is no log either.
                        return as_json.map_err(|problem| HistoryError::Line { line: number, problem });
                    }
                    return Self::pair(events);
                }
            }
            line.clear();
        }
        Self::pair(events)
    }

    /// A history of these events.
    ///
    /// # Errors
    /// As [`History::read`]; events are counted from 1, as lines are.
    pub fn from_events(events: impl IntoIterator<Item = Event>) -> Result<Self, HistoryError> {
        Self::pair(events.into_iter().enumerate().map(|(number, event)| (number + 1, event.into())).collect())
    }

    /// How many calls there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there is no call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    fn pair(events: Vec<(usize, Recorded)>) -> Result<Self, HistoryError> {
        let times_back = events.windows(2).filter(|pair| pair[1].1.time < pair[0].1.time).count();
        let mut calls: Vec<Call> = Vec::new();
        let mut waiting: BTreeMap<u64, usize> = BTreeMap::new();
        for (number, (line, event)) in events.into_iter().enumerate() {
            let fault = |problem: String| HistoryError::Line { line, problem };
            let moment = (number as u64, event.time);
            if event.kind == EventKind::Invoke {
                let call = call_of(line, moment, event).map_err(fault)?;
                if let Some(earlier) = waiting.insert(call.process, calls.len()) {
                    let (process, earlier) = (call.process, calls[earlier].line);
                    return Err(fault(format!("process {process} still waits for the answer to line {earlier}")));
                }
                calls.push(call);
                continue;
            }
            let Some(position) = waiting.remove(&event.process) else {
                return Err(fault(format!("process {} has no call under way", event.process)));
            };
            answer(&mut calls[position], moment, event).map_err(fault)?;
        }
        Ok(Self { calls, times_back })
    }
}

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Edn,
    Console,
}

impl Form {
    /// The form of a file with this first line; nothing for a blank one.
    fn of(line: &str) -> Option<Self> {
        let mut characters = line.chars().filter(|character| !character.is_whitespace());
        let (first, second) = (characters.next()?, characters.next());
        Some(match first {
            '{' if !matches!(second, Some('"' | '}') | None) => Self::Edn,
            '[' | '(' | ';' | '#' | ',' => Self::Edn,
            '{' => Self::Json,
            _ => Self::Console,
        })
    }
}

/// An event with its value as it was written.
pub(super) struct Recorded {
    pub(super) process: u64,
    pub(super) kind: EventKind,
    pub(super) function: Function,
    pub(super) key: Option<Key>,
    pub(super) value: Datum,
    pub(super) time: u64,
}

impl Recorded {
    fn read(line: &str) -> Result<Self, String> {
        /// As [`Event`], but numbers are still text.
        #[derive(Deserialize)]
        struct Line<'a> {
            process: u64,
            #[serde(rename = "type")]
            kind: EventKind,
            #[serde(rename = "f")]
            function: Function,
            #[serde(default)]
            key: Option<Key>,
            #[serde(default, borrow)]
            value: Option<&'a RawValue>,
            time: u64,
        }
        let Line { process, kind, function, key, value, time } =
            serde_json::from_str(line).map_err(|error| error.to_string())?;
        let value = value.map_or(Ok(Datum::Null), |value| Datum::parse(value.get()))?;
        Ok(Self { process, kind, function, key, value, time })
    }
}

impl From<Event> for Recorded {
    fn from(event: Event) -> Self {
        let Event { process, kind, function, key, value, time } = event;
        Self { process, kind, function, key, value: Datum::from(&value), time }
    }
}

/// Writes events as the lines of a history file.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_events<'a>(mut out: impl Write, events: impl IntoIterator<Item = &'a Event>) -> io::Result<()> {
    for event in events {
        serde_json::to_writer(&mut out, event)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn call_of(line: usize, moment: (u64, u64), event: Recorded) -> Result<Call, String> {
    match (event.function, &event.key) {
        (Function::Txn, Some(_)) => return Err("a transaction names its keys in its value".to_owned()),
        (Function::Txn, None) => check_transaction(&event.value)?,
        (function, None) => return Err(format!("{function} without a key")),
        (Function::Cas, Some(_)) => _ = old_and_new(&event.value)?,
        (Function::Read | Function::Write, Some(_)) => {}
    }
    Ok(Call {
        process: event.process,
        function: event.function,
        key: event.key,
        called: event.value,
        answered: Datum::Null,
        outcome: Outcome::Unknown,
        invoked: moment,
        returned: None,
        line,
    })
}

fn answer(call: &mut Call, moment: (u64, u64), event: Recorded) -> Result<(), String> {
    if event.function != call.function || event.key != call.key {
        return Err(format!("process {} waits for the answer to line {}, another call", call.process, call.line));
    }
    call.outcome = match event.kind {
        EventKind::Ok => Outcome::Ok,
        EventKind::Fail => Outcome::Fail,
        EventKind::Info if call.function == Function::Txn => return note_reads(call, event.value),
        EventKind::Info | EventKind::Invoke => return Ok(()),
    };
    call.returned = Some(moment);
    if call.outcome == Outcome::Fail {
        return Ok(());
    }
    match call.function {
        Function::Read => {}
        Function::Write | Function::Cas if event.value == call.called || event.value.is_null() => {}
        Function::Write | Function::Cas => return Err("the answer bears another value than the call".to_owned()),
        Function::Txn => check_answer(&call.called, &event.value)?,
    }
    call.answered = event.value;
    Ok(())
}

/// Keeps what a transaction of unknown outcome says that it read. Recorders that have nothing to say repeat the call, or write
/// something else in its place.
fn note_reads(call: &mut Call, value: Datum) -> Result<(), String> {
    let Ok(steps) = micros(&value) else { return Ok(()) };
    if steps.iter().any(|step| matches!(step, Micro::Read { list: Some(_), .. })) {
        check_answer(&call.called, &value)?;
        call.answered = value;
    }
    Ok(())
}

/// The two values of a cas.
pub(super) fn old_and_new(value: &Datum) -> Result<(&Datum, &Datum), String> {
    match value.list() {
        Some([old, new]) => Ok((old, new)),
        _ => Err("the value of a cas is [old, new]".to_owned()),
    }
}

/// One step of a transaction as it stands in the file.
pub(super) enum Micro<'a> {
    Append { key: Key, element: &'a Datum },
    Read { key: Key, list: Option<&'a [Datum]> },
}

/// The steps of a transaction.
pub(super) fn micros(value: &Datum) -> Result<Vec<Micro<'_>>, String> {
    let steps = value.list().ok_or("the value of a transaction is a list of steps")?;
    steps.iter().map(micro).collect()
}

fn micro(step: &Datum) -> Result<Micro<'_>, String> {
    let problem = || format!("{step} is neither [\"append\", key, element] nor [\"r\", key, list or null]");
    let Some([Datum::Text(name), key, value]) = step.list() else { return Err(problem()) };
    let key = key.key().ok_or_else(problem)?;
    match &**name {
        "append" if !value.is_null() => Ok(Micro::Append { key, element: value }),
        "r" if value.is_null() => Ok(Micro::Read { key, list: None }),
        "r" => Ok(Micro::Read { key, list: Some(value.list().ok_or_else(problem)?) }),
        _ => Err(problem()),
    }
}

fn check_transaction(value: &Datum) -> Result<(), String> {
    micros(value).map(|_| ())
}

fn check_answer(called: &Datum, answered: &Datum) -> Result<(), String> {
    let (called, answered) = (micros(called)?, micros(answered)?);
    let is_same = |pair: (&Micro<'_>, &Micro<'_>)| match pair {
        (Micro::Append { key, element }, Micro::Append { key: same_key, element: same }) => {
            key == same_key && element == same
        }
        (Micro::Read { key, .. }, Micro::Read { key: same_key, .. }) => key == same_key,
        _ => false,
    };
    if called.len() == answered.len() && called.iter().zip(&answered).all(is_same) {
        Ok(())
    } else {
        Err("the answer has other steps than the call".to_owned())
    }
}

/// Why a file is not a history.
#[derive(Debug)]
#[non_exhaustive]
pub enum HistoryError {
    /// The file cannot be read.
    Io(io::Error),
    /// A line is not an event, or contradicts those before it.
    Line {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
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

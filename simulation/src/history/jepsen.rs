//! Histories as Jepsen and the checkers about it write them.
//!
//! - `history.edn`, and the test data of Knossos and Elle: maps one after another, or all in one vector or list; or vectors
//!   `[process type f value]`.
//! - Logs of the console: `INFO jepsen.util - 3 :invoke :read nil`, with blanks or tabs between, whatever stands before
//!   the process.
//!
//! Operations of what is no client, such as `:nemesis`, are left out. A process that is not stated is always the same one.

use super::datum::Datum;
use super::edn::Forms;
use super::file::{HistoryError, Recorded};
use super::{EventKind, Function, Key};

/// What a file leaves open, where it is read as Jepsen writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What a successful read of nil found. Unless told, that it is not known in EDN, as Knossos has it, and that there was nothing
    /// in logs of the console.
    pub nil: Option<NilRead>,
    /// Whether a value is `[key value]`, of registers that are independent of each other. Unless told, it is so if every read is
    /// called with such a value.
    pub is_independent: Option<bool>,
}

/// What a successful read that tells nil has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NilRead {
    /// Whatever there was: it tells nothing.
    Unknown,
    /// That there is no value.
    Absent,
}

/// An operation as it stands in the file.
struct Operation {
    line: usize,
    process: u64,
    kind: EventKind,
    function: Function,
    value: Datum,
    time: u64,
}

/// The events of a file in EDN.
pub(super) fn edn(text: &str, reading: Reading) -> Result<Vec<(usize, Recorded)>, HistoryError> {
    let mut forms = Forms::new(text, 1);
    let mut operations = Vec::new();
    loop {
        let found = next_operations(&mut forms);
        let found = found.map_err(|problem| HistoryError::Line { line: forms.line(), problem })?;
        let Some(found) = found else { break };
        for (line, form) in found {
            operations.extend(operation(line, &form).map_err(|problem| HistoryError::Line { line, problem })?);
        }
    }
    Ok(events(operations, reading, NilRead::Unknown))
}

/// The events of a log of the console. Lines that tell of no operation are left out.
pub(super) fn console(text: &str, reading: Reading) -> Result<Vec<(usize, Recorded)>, HistoryError> {
    let mut operations = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let Some(start) = start_of_operation(content) else { continue };
        let fail = |problem| HistoryError::Line { line, problem };
        let mut forms = Forms::new(&content[start..], line);
        let mut parts = Vec::new();
        while parts.len() < 4
            && let Some(form) = forms.next_form().map_err(fail)?
        {
            parts.push(form);
        }
        operations.extend(operation(line, &Datum::List(parts)).map_err(fail)?);
    }
    Ok(events(operations, reading, NilRead::Absent))
}

/// Whether a line of a log is an operation: where its process stands.
fn start_of_operation(line: &str) -> Option<usize> {
    let is_kind = |word: &str| [":invoke", ":ok", ":fail", ":info"].contains(&word);
    let mut before = None;
    for word in line.split_whitespace() {
        if is_kind(word) {
            return before.map(|word: &str| word.as_ptr() as usize - line.as_ptr() as usize);
        }
        before = Some(word);
    }
    None
}

/// The operations of the next form: it is one, or a list of them.
fn next_operations(forms: &mut Forms<'_>) -> Result<Option<Vec<(usize, Datum)>>, String> {
    if !forms.enter()? {
        let line = forms.line();
        return Ok(forms.next_form()?.map(|form| vec![(line, form)]));
    }
    let line = forms.line();
    let mut list = Vec::new();
    while let Some(each) = forms.next_in_list()? {
        list.push(each);
    }
    let is_operation = !list.is_empty()
        && list.iter().all(|(_, form)| !matches!(form, Datum::Map(_)))
        && !list.iter().all(|(_, form)| form.list().is_some());
    if is_operation {
        list = vec![(line, Datum::List(list.into_iter().map(|(_, form)| form).collect()))];
    }
    Ok(Some(list))
}

/// Nothing for what is no client's.
fn operation(line: usize, form: &Datum) -> Result<Option<Operation>, String> {
    let missing = Datum::Null;
    let part = |name: &str, place: usize| match form {
        Datum::Map(parts) => parts.iter().find(|(of, _)| **of == *name).map_or(&missing, |(_, value)| value),
        Datum::List(parts) => parts.get(place).unwrap_or(&missing),
        _ => &missing,
    };
    if !matches!(form, Datum::Map(_) | Datum::List(_)) {
        return Err(format!("{form} is no operation"));
    }
    let process = match part(":process", 0) {
        Datum::Null => 0,
        Datum::Number(number) => match number.parse() {
            Ok(process) => process,
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    let kind = match keyword(part(":type", 1)) {
        Some("invoke") => EventKind::Invoke,
        Some("ok") => EventKind::Ok,
        Some("fail") => EventKind::Fail,
        Some("info") => EventKind::Info,
        _ => return Err(format!("{} is neither :invoke, :ok, :fail nor :info", part(":type", 1))),
    };
    let function = match keyword(part(":f", 2)) {
        Some("read" | "r") => Function::Read,
        Some("write" | "w") => Function::Write,
        Some("cas") => Function::Cas,
        Some("txn") => Function::Txn,
        None if part(":f", 2).is_null() => Function::Txn,
        _ => return Err(format!("no checker here knows the function {}", part(":f", 2))),
    };
    let time = match part(":time", 4) {
        Datum::Number(number) => number.parse().unwrap_or(0),
        _ => 0,
    };
    Ok(Some(Operation { line, process, kind, function, value: part(":value", 3).clone(), time }))
}

fn keyword(form: &Datum) -> Option<&str> {
    match form {
        Datum::Text(text) => text.strip_prefix(':'),
        _ => None,
    }
}

fn events(operations: Vec<Operation>, reading: Reading, nil: NilRead) -> Vec<(usize, Recorded)> {
    let nil = reading.nil.unwrap_or(nil);
    let is_independent = reading.is_independent.unwrap_or_else(|| seem_independent(&operations));
    let event = |operation: Operation| {
        let Operation { line, process, mut kind, function, value, time } = operation;
        let (key, value) = match (function, value) {
            (Function::Txn, value) => (None, steps(value)),
            (_, Datum::List(pair)) if is_independent && pair.len() == 2 => key_and_value(pair),
            (_, value) => (Some(Key::from("register")), value),
        };
        if (kind, function, nil) == (EventKind::Ok, Function::Read, NilRead::Unknown) && value.is_null() {
            kind = EventKind::Info;
        }
        (line, Recorded { process, kind, function, key, value, time })
    };
    operations.into_iter().map(event).collect()
}

/// Reads are called with nothing, or with the key and nothing.
fn seem_independent(operations: &[Operation]) -> bool {
    let is_call = |each: &&Operation| (each.kind, each.function) == (EventKind::Invoke, Function::Read);
    let mut calls = operations.iter().filter(is_call).peekable();
    calls.peek().is_some() && calls.all(|call| matches!(call.value.list(), Some([_, Datum::Null])))
}

fn key_and_value(pair: Vec<Datum>) -> (Option<Key>, Datum) {
    let mut pair = pair.into_iter();
    let (key, value) = (pair.next().unwrap_or_default(), pair.next().unwrap_or_default());
    (Some(key.key().unwrap_or_else(|| Key::from(key.to_string()))), value)
}

/// The steps of a transaction with names that are no keywords.
fn steps(value: Datum) -> Datum {
    let Datum::List(steps) = value else { return value };
    let step = |step: Datum| match step {
        Datum::List(mut parts) => {
            let name = match parts.first().and_then(keyword) {
                Some("append") => Some("append"),
                Some("r" | "read") => Some("r"),
                _ => None,
            };
            if let (Some(name), Some(first)) = (name, parts.first_mut()) {
                *first = Datum::Text(name.into());
            }
            Datum::List(parts)
        }
        other => other,
    };
    Datum::List(steps.into_iter().map(step).collect())
}

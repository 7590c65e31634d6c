//! Histories in the notations of Jepsen and of other checkers.
//!
//! - `history.edn`, and the test data of Knossos and Elle: maps one after another, or all in one vector or list; or
//!   vectors `[process type f value]`.
//! - The logs of key-value stores in Porcupine's tests: maps with a `:key`.
//! - Logs of the console: `INFO jepsen.util - 3 :invoke :read nil`, separated by blanks or tabs, with any text before
//!   the process.
//!
//! Operations of processes that are not clients, such as `:nemesis`, are left out: their process is a keyword. Anything
//! else that is unknown is an error. If a process is not stated, it is always the same one. If every operation has an
//! `:index`, the indices are the order.

use std::collections::HashMap;

use super::datum::Datum;
use super::edn::Forms;
use super::recorded::{HistoryError, Recorded};
use super::{EventKind, Function, Key, ObjectKind};

/// Settings for what a file leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Meaning of a successful read of nil in a file of Jepsen. By default the value is unknown in EDN, as in Knossos,
    /// and absent in logs of the console.
    pub nil: Option<NilRead>,
    /// True if values in a file of Jepsen are `[key value]`, for independent objects. By default this is assumed if
    /// functions that only ask are called with a key and nil.
    pub is_independent: Option<bool>,
    /// Kind of the objects, in files of any notation. By default the calls decide.
    pub model: Option<ObjectKind>,
}

/// Meaning of a successful read that returns nil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NilRead {
    /// Unknown: the read found some value, or none.
    Unknown,
    /// The read found no value.
    Absent,
}

/// An operation as the file states it.
struct Operation {
    line: usize,
    index: Option<i64>,
    process: u64,
    key: Option<Key>,
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
    order(&mut operations)?;
    events(operations, reading, NilRead::Unknown)
}

/// The events of a log of the console. Lines that are not operations are left out.
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
        if parts.len() < 4 {
            return Err(fail("an operation without a value: the line is cut off".to_owned()));
        }
        operations.extend(operation(line, &Datum::List(parts)).map_err(fail)?);
    }
    events(operations, reading, NilRead::Absent)
}

fn is_kind(word: &str) -> bool {
    [":invoke", ":ok", ":fail", ":info"].contains(&word)
}

/// If a line of a log is an operation, the position of its process.
fn start_of_operation(line: &str) -> Option<usize> {
    let mut before = None;
    for word in line.split_whitespace() {
        if is_kind(word) {
            return before.map(|word: &str| word.as_ptr() as usize - line.as_ptr() as usize);
        }
        before = Some(word);
    }
    None
}

/// The operations of the next form, which is one operation or a list of them.
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
    let is_operation = matches!(list.get(1), Some((_, Datum::Symbol(kind))) if is_kind(kind));
    if is_operation {
        list = vec![(line, Datum::List(list.into_iter().map(|(_, form)| form).collect()))];
    }
    Ok(Some(list))
}

/// Sorts operations by their indices, if all have one.
fn order(operations: &mut [Operation]) -> Result<(), HistoryError> {
    if operations.iter().any(|operation| operation.index.is_none()) {
        return Ok(());
    }
    operations.sort_by_key(|operation| operation.index);
    match operations.windows(2).find(|pair| pair[0].index == pair[1].index) {
        None => Ok(()),
        Some(pair) => {
            let (index, earlier) = (pair[0].index.unwrap_or_default(), pair[0].line);
            let problem = format!("the index {index} stands in line {earlier} too: is this more than one history?");
            Err(HistoryError::Line { line: pair[1].line, problem })
        }
    }
}

/// `None` for an operation of a process that is not a client.
fn operation(line: usize, form: &Datum) -> Result<Option<Operation>, String> {
    let missing = Datum::Null;
    let part = |name: &str, place: usize| match form {
        Datum::List(parts) => parts.get(place).unwrap_or(&missing),
        _ => form.part(name).unwrap_or(&missing),
    };
    if !matches!(form, Datum::Map(_) | Datum::List(_)) {
        return Err(format!("{form} is no operation"));
    }
    let process = match part("process", 0) {
        Datum::Null => 0,
        Datum::Integer(number) if *number >= 0 => number.unsigned_abs(),
        Datum::Symbol(name) if name.starts_with(':') => return Ok(None),
        other => return Err(format!("{other} is no process: clients have numbers, others keywords")),
    };
    let kind = match keyword(part("type", 1)) {
        Some("invoke") => EventKind::Invoke,
        Some("ok") => EventKind::Ok,
        Some("fail") => EventKind::Fail,
        Some("info") => EventKind::Info,
        _ => return Err(format!("{} is neither :invoke, :ok, :fail nor :info", part("type", 1))),
    };
    let function = match keyword(part("f", 2)) {
        Some("r") => Some(Function::Read),
        Some("w") => Some(Function::Write),
        Some(name) => Function::of_name(name),
        None => part("f", 2).is_null().then_some(Function::Txn),
    };
    let function = function.ok_or_else(|| format!("no checker here knows the function {}", part("f", 2)))?;
    let key = match form.part("key") {
        None | Some(Datum::Null) => None,
        Some(key) => Some(Key::of_datum(key).ok_or_else(|| format!("{key} is no key"))?),
    };
    let time = part("time", 4).integer().and_then(|time| u64::try_from(time).ok()).unwrap_or(0);
    let index = form.part("index").and_then(Datum::integer);
    Ok(Some(Operation { line, index, process, key, kind, function, value: part("value", 3).clone(), time }))
}

fn keyword(form: &Datum) -> Option<&str> {
    match form {
        Datum::Symbol(text) => text.strip_prefix(':'),
        _ => None,
    }
}

fn events(operations: Vec<Operation>, reading: Reading, nil: NilRead) -> Result<Vec<(usize, Recorded)>, HistoryError> {
    let nil = reading.nil.unwrap_or(nil);
    let is_independent = match reading.is_independent {
        Some(is_independent) => is_independent,
        None => seem_independent(&operations)?,
    };
    // An end other than success may have any value.
    let mut called: HashMap<u64, Option<Key>> = HashMap::new();
    let event = |operation: Operation| {
        let Operation { line, process, mut kind, function, key, value, time, .. } = operation;
        let is_told = matches!(kind, EventKind::Invoke | EventKind::Ok);
        let (key, value) = match (function, value) {
            (Function::Txn, value) => (key, steps(value)),
            (_, value) if !is_independent => (key, value),
            (_, _) if !is_told => (called.get(&process).cloned().flatten(), Datum::Null),
            (_, Datum::List(pair)) if pair.len() == 2 => key_and_value(pair),
            (_, value) => {
                let problem = format!("{value} is not [key value], as it is with independent keys");
                return Err(HistoryError::Line { line, problem });
            }
        };
        if kind == EventKind::Invoke && is_independent {
            called.insert(process, key.clone());
        }
        let is_asked = matches!(function, Function::Read | Function::Dequeue);
        if (kind, nil) == (EventKind::Ok, NilRead::Unknown) && is_asked && value.is_null() {
            kind = EventKind::Info;
        }
        Ok((line, Recorded { process, kind, function, key, value, time }))
    };
    operations.into_iter().map(event).collect()
}

/// True if values are `[key value]`: functions that only ask are called with a key and nil. A call with no value or
/// without a key decides nothing.
fn seem_independent(operations: &[Operation]) -> Result<bool, HistoryError> {
    let is_call = |each: &&Operation| each.kind == EventKind::Invoke && each.function != Function::Txn;
    let calls = || operations.iter().filter(is_call);
    let may_be = |call: &Operation| match (call.function, call.value.list()) {
        (Function::Cas, Some([_, value])) => value.list().is_some_and(|both| both.len() == 2),
        (_, Some([_, _])) => call.key.is_none(),
        _ => false,
    };
    if calls().next().is_none() || !calls().all(may_be) {
        return Ok(false);
    }
    if calls().any(|call| call.function.asks_only() && matches!(call.value.list(), Some([_, Datum::Null]))) {
        return Ok(true);
    }
    let line = calls().next().map_or(0, |call| call.line);
    let problem = "every value may be [key value], and nothing tells whether it is: it has to be stated".to_owned();
    Err(HistoryError::Line { line, problem })
}

fn key_and_value(pair: Vec<Datum>) -> (Option<Key>, Datum) {
    let mut pair = pair.into_iter();
    let (key, value) = (pair.next().unwrap_or_default(), pair.next().unwrap_or_default());
    (Some(Key::of_datum(&key).unwrap_or_else(|| Key::of_symbol(&key.to_string()))), value)
}

/// The steps of a transaction, with texts instead of keywords as names.
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

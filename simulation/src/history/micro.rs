//! Parts of the values of calls.

use super::Key;
use super::datum::Datum;

/// The two values of a cas.
pub(super) fn old_and_new(value: &Datum) -> Result<(&Datum, &Datum), String> {
    match value.list() {
        Some([old, new]) => Ok((old, new)),
        _ => Err("the value of a cas is [old, new]".to_owned()),
    }
}

/// One step of a transaction as the file states it.
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
    let (name, key, value) = match step.list() {
        Some([Datum::Text(name), key, value]) => (name, key, value),
        Some([Datum::Text(name), key]) => (name, key, &Datum::Null),
        _ => return Err(problem()),
    };
    let key = Key::of_datum(key).ok_or_else(problem)?;
    match &**name {
        "append" if !value.is_null() => Ok(Micro::Append { key, element: value }),
        "r" if value.is_null() => Ok(Micro::Read { key, list: None }),
        "r" => Ok(Micro::Read { key, list: Some(value.list().ok_or_else(problem)?) }),
        _ => Err(problem()),
    }
}

/// Checks that an answer has the steps of its call.
pub(super) fn check_answer(called: &Datum, answered: &Datum) -> Result<(), String> {
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

/// The payer, the receiver and the amount of a transfer.
pub(super) fn transfer(value: &Datum) -> Result<(&Datum, &Datum, i64), String> {
    let part = |name| value.part(name).filter(|part| !part.is_null());
    let amount = part("amount").and_then(Datum::integer);
    match (part("from"), part("to"), amount) {
        (Some(from), Some(to), Some(amount)) => Ok((from, to, amount)),
        _ => Err("the value of a transfer has the parts from, to, and a whole number as the amount".to_owned()),
    }
}

//! Sets that only grow: `add`, `read`.
//!
//! The position of each member's add is known: after the last read without the member, and before the first read with
//! it. So the reads must form a chain, each a part of the next. The order is then known except for calls between the
//! same two reads, which may come in the order of their calls. This takes time in proportion to the members that were
//! read.

use std::collections::{HashMap, HashSet};

use super::super::datum::Datum;
use super::super::pairing::{Call, CallOutcome};
use super::super::{Function, SearchBudget};
use super::judged::{Judged, NOT_LINEARIZABLE, Span, call_words};

pub(super) fn judge(calls: &[&Call], budget: &mut SearchBudget) -> Judged {
    let read = |call: &&&Call| (call.function, call.outcome) == (Function::Read, CallOutcome::Ok);
    let mut reads: Vec<Read<'_>> = Vec::new();
    for call in calls.iter().filter(read) {
        let members = members(&call.answered);
        if budget.charge(1 + members.len()).is_err() {
            return Judged::Undecided;
        }
        let distinct: HashSet<&Datum> = members.iter().collect();
        if distinct.len() < members.len() {
            let what = format!("read {} with a member in it twice", call.answered);
            return violated(&[(call, what)]);
        }
        reads.push(Read { call, list: members, members: distinct });
    }
    // The sort keeps equal reads in the order of their calls.
    reads.sort_by_key(|read| read.list.len());
    match order(calls, &reads).and_then(|order| in_time(&order)) {
        Ok(()) => Judged::Holds,
        Err(why) => violated(&why),
    }
}

struct Read<'a> {
    call: &'a Call,
    list: &'a [Datum],
    members: HashSet<&'a Datum>,
}

/// Calls with a description of each.
type Why<'a> = Vec<(&'a Call, String)>;

fn violated(why: &[(&Call, String)]) -> Judged {
    let lines: Vec<String> = why.iter().map(|(call, what)| format!("    {}", call_words(call, what))).collect();
    Judged::Violated { what: NOT_LINEARIZABLE, explanation: lines.join("\n") }
}

fn members(answer: &Datum) -> &[Datum] {
    match answer {
        Datum::List(members) | Datum::Set(members) => members,
        _ => &[],
    }
}

/// The order that the reads allow, without regard to the times of calls.
fn order<'a>(calls: &[&'a Call], reads: &[Read<'a>]) -> Result<Vec<&'a Call>, Why<'a>> {
    let is_add = |call: &&&Call| call.function == Function::Add && call.outcome != CallOutcome::Fail;
    let mut adds: HashMap<&Datum, Vec<&'a Call>> = HashMap::new();
    for call in calls.iter().filter(is_add) {
        adds.entry(&call.called).or_default().push(call);
    }
    let mut order: Vec<&Call> = Vec::new();
    let mut known: HashSet<&Datum> = HashSet::new();
    let mut latest: Option<&Call> = None;
    for (place, read) in reads.iter().enumerate() {
        let mut added = Vec::new();
        for member in read.list {
            if !known.insert(member) {
                continue;
            }
            let Some((first, others)) = adds.get(member).and_then(|adding| adding.split_first()) else {
                return Err(vec![(read.call, format!("read {member}, which nobody added"))]);
            };
            added.push(*first);
            // An add that adds a member again may come at any later time, but not before the reads without the member.
            let early = others.iter().find(|other| latest.is_some_and(|at| Span::of(other).is_before(Span::of(at))));
            if let (Some(early), Some(latest)) = (early, latest) {
                return Err(vec![(*early, words(early)), (latest, must_be_before(latest))]);
            }
        }
        if known.len() > read.list.len() {
            return Err(no_chain(&reads[..=place]));
        }
        added.sort_by_key(|call| call.invoked);
        added.push(read.call);
        latest = latest.into_iter().chain(added.iter().copied()).max_by_key(|call| call.invoked);
        order.extend(added);
    }
    // A member that was not read comes after all reads, if it was added.
    let is_unread = |call: &&&Call| call.outcome == CallOutcome::Ok && !known.contains(&call.called);
    order.extend(calls.iter().filter(is_add).filter(is_unread).copied());
    Ok(order)
}

/// Explains why the last of these reads cannot come after the others.
fn no_chain<'a>(reads: &[Read<'a>]) -> Why<'a> {
    let Some((last, before)) = reads.split_last() else { return Vec::new() };
    for read in before.iter().rev() {
        if let Some(missing) = read.list.iter().find(|member| !last.members.contains(member)) {
            return vec![
                (read.call, format!("read a set with {missing} in it")),
                (last.call, format!("read a set without {missing}, but with others that the first had not")),
            ];
        }
    }
    Vec::new()
}

/// Checks that no call in this order was answered before an earlier call of the order was made.
fn in_time<'a>(order: &[&'a Call]) -> Result<(), Why<'a>> {
    let mut latest: Option<&Call> = None;
    for call in order {
        if let Some(latest) = latest
            && Span::of(call).is_before(Span::of(latest))
        {
            return Err(vec![(*call, words(call)), (latest, must_be_before(latest))]);
        }
        if latest.is_none_or(|latest| latest.invoked < call.invoked) {
            latest = Some(call);
        }
    }
    Ok(())
}

fn must_be_before(call: &Call) -> String {
    format!("{}, which must come before", words(call))
}

fn words(call: &Call) -> String {
    match call.function {
        Function::Add => format!("add {}", call.called),
        _ => format!("read {}", shortened(&call.answered)),
    }
}

fn shortened(answer: &Datum) -> String {
    let members = members(answer);
    if members.len() <= SHOWN_MAX { answer.to_string() } else { format!("{} members", members.len()) }
}

const SHOWN_MAX: usize = 20;

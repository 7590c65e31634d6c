//! Texts: `get`, `put`, `append`.
//!
//! A text that is appended to grows with its history, so the search must not copy it. The search keeps its length and
//! two sums of its bytes; the sums of two texts together follow from their own sums (Karp and Rabin, "Efficient
//! randomized pattern-matching algorithms", IBM Journal of Research and Development 31 (1987)). Two of 10^7 texts have
//! equal sums with a chance of about 10^-18.

use std::collections::HashMap;
use std::marker::PhantomData;

use super::super::datum::Datum;
use super::super::pairing::{Call, CallOutcome};
use super::super::{Function, Model, SearchBudget, Timed};
use super::judged::Judged;
use super::searched::{Described, Searched};

pub(super) fn judge(calls: &[&Call], budget: &mut SearchBudget, explaining: &mut SearchBudget) -> Judged {
    let size: usize = calls.iter().map(|call| text(&call.called).len() + text(&call.answered).len()).sum();
    if budget.charge(size).is_err() {
        return Judged::Undecided;
    }
    let (model, beginnings) = TextModel::of(calls);
    Searched::new(model, calls, |call| operation(call, &beginnings)).judge(budget, explaining)
}

/// For each text that was got, the place in [`TextModel::sums`] of a text that begins with it.
type Beginnings<'a> = HashMap<&'a str, usize>;

/// The effect that a call had or may have had; `None` if the call contains no information.
fn operation<'a>(call: &'a Call, beginnings: &Beginnings<'_>) -> Option<TextOperation<'a>> {
    let (does, text) = match (call.function, call.outcome) {
        (_, CallOutcome::Fail) | (Function::Get, CallOutcome::Unknown) => return None,
        (Function::Get, CallOutcome::Ok) => (Does::Get, text(&call.answered)),
        (Function::Put, _) => (Does::Put, text(&call.called)),
        _ => (Does::Append, text(&call.called)),
    };
    let beginnings = beginnings.get(text).copied().filter(|_| does == Does::Get);
    Some(TextOperation { does, text, sums: Sums::of(text), factors: factors(text.len() as u64), beginnings })
}

/// An absent text is empty.
fn text(datum: &Datum) -> &str {
    match datum {
        Datum::Text(text) => text,
        _ => "",
    }
}

/// A text that is replaced or appended to.
struct TextModel<'a> {
    /// The sums of the beginnings of texts, by their lengths.
    sums: Vec<Vec<[u64; 2]>>,
    calls: PhantomData<&'a Call>,
}

impl<'a> TextModel<'a> {
    fn of(calls: &[&'a Call]) -> (Self, Beginnings<'a>) {
        let is_got = |call: &&&Call| call.function == Function::Get && call.outcome == CallOutcome::Ok;
        let mut got: Vec<&str> = calls.iter().filter(is_got).map(|call| text(&call.answered)).collect();
        got.sort_unstable();
        got.dedup();
        let (mut model, mut beginnings) = (Self { sums: Vec::new(), calls: PhantomData }, HashMap::new());
        let (mut room, mut longest) = (BEGINNINGS_MAX, None);
        // A text that begins with another comes after it, so that from behind the longest comes first.
        for text in got.into_iter().rev() {
            if !longest.is_some_and(|longest: &str| longest.starts_with(text)) {
                if text.len() > room {
                    continue;
                }
                room -= text.len();
                longest = Some(text);
                model.sums.push(Sums::of_beginnings(text));
            }
            beginnings.insert(text, model.sums.len() - 1);
        }
        (model, beginnings)
    }
}

#[derive(Clone, Copy)]
struct TextOperation<'a> {
    does: Does,
    text: &'a str,
    sums: Sums,
    /// What the sums of a text are multiplied by when this one is appended to it.
    factors: [u64; 2],
    /// For a text that was got, the place in [`TextModel::sums`] of one that begins with it.
    beginnings: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Get,
    Put,
    Append,
}

/// Length and sums of a text. Equal texts have equal sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Sums {
    length: u64,
    sums: [u64; 2],
}

impl Sums {
    fn of(text: &str) -> Self {
        let mut sums = [0; 2];
        for (sum, base) in sums.iter_mut().zip(BASES) {
            *sum = text.bytes().fold(0, |sum, byte| add(multiply(sum, base), u64::from(byte) + 1));
        }
        Self { length: text.len() as u64, sums }
    }

    /// The sums of all beginnings of a text, the empty one first.
    fn of_beginnings(text: &str) -> Vec<[u64; 2]> {
        let mut sums = [0; 2];
        let mut all = vec![sums];
        for byte in text.bytes() {
            for (sum, base) in sums.iter_mut().zip(BASES) {
                *sum = add(multiply(*sum, base), u64::from(byte) + 1);
            }
            all.push(sums);
        }
        all
    }

    /// The sums of this text followed by the one that is appended.
    fn then(self, appended: &TextOperation<'_>) -> Self {
        let sums = [0, 1].map(|at| add(multiply(self.sums[at], appended.factors[at]), appended.sums.sums[at]));
        Self { length: self.length + appended.sums.length, sums }
    }
}

/// Factors of the sums of a text that is followed by one of this length.
fn factors(length: u64) -> [u64; 2] {
    BASES.map(|base| power(base, length))
}

fn add(one: u64, other: u64) -> u64 {
    let sum = one + other;
    if sum < MODULUS { sum } else { sum - MODULUS }
}

/// The remainder of a product: modulo 2^61 - 1, the bits from the 61st up count as those from the first up.
fn multiply(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    let part = |bits: u128| u64::try_from(bits).expect("less than 2^61, since both factors are");
    add(part(product & u128::from(MODULUS)), part(product >> 61))
}

fn power(base: u64, mut exponent: u64) -> u64 {
    let (mut result, mut square) = (1, base);
    while exponent > 0 {
        if exponent % 2 == 1 {
            result = multiply(result, square);
        }
        square = multiply(square, square);
        exponent /= 2;
    }
    result
}

impl<'a> Model for TextModel<'a> {
    type State = Sums;
    type Operation = TextOperation<'a>;

    fn initial(&self) -> Sums {
        Sums::default()
    }

    fn apply(&self, state: &Sums, operation: &TextOperation<'a>) -> Option<Sums> {
        match operation.does {
            Does::Get => (*state == operation.sums).then_some(*state),
            Does::Put => Some(operation.sums),
            Does::Append => Some(state.then(operation)),
        }
    }

    fn reads_only(&self, operation: &TextOperation<'a>) -> bool {
        operation.does == Does::Get
    }

    fn overwrites(&self, operation: &TextOperation<'a>) -> bool {
        operation.does == Does::Put
    }

    fn wants(&self, operation: &TextOperation<'a>) -> Option<Sums> {
        (operation.does == Does::Get).then_some(operation.sums)
    }

    fn leaves(&self, operation: &TextOperation<'a>) -> Option<Sums> {
        (operation.does == Does::Put).then_some(operation.sums)
    }

    fn is_blind(&self, operation: &TextOperation<'a>) -> bool {
        operation.does != Does::Get
    }

    /// Without a put a text only grows.
    fn can_reach(&self, state: &Sums, operation: &TextOperation<'a>) -> Option<bool> {
        if operation.does != Does::Get {
            return None;
        }
        let sums = &self.sums[operation.beginnings?];
        let is_no_longer = state.length <= operation.sums.length;
        let beginning = usize::try_from(state.length).ok().filter(|_| is_no_longer).and_then(|length| sums.get(length));
        Some(beginning == Some(&state.sums))
    }
}

impl<'a> Described for TextModel<'a> {
    fn words(&self, operation: &TextOperation<'a>) -> String {
        let text = Datum::Text(shortened(operation.text).into());
        match operation.does {
            Does::Get => format!("get {text}"),
            Does::Put => format!("put {text}"),
            Does::Append => format!("append {text}"),
        }
    }

    fn reason(&self, _: &[Timed<TextOperation<'a>>], order: &[&TextOperation<'a>], _: &TextOperation<'a>) -> String {
        let mut held = String::new();
        for operation in order {
            match operation.does {
                Does::Get => {}
                Does::Put => operation.text.clone_into(&mut held),
                Does::Append => held.push_str(operation.text),
            }
        }
        format!("the text is {}", Datum::Text(shortened(&held).into()))
    }
}

/// The end of a long text is more informative than its beginning.
fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= SHOWN_MAX {
        return text.to_owned();
    }
    let end: String = text.chars().skip(length - SHOWN_MAX).collect();
    format!("... {end}")
}

/// 2^61 - 1, a prime.
const MODULUS: u64 = (1 << 61) - 1;
const BASES: [u64; 2] = [0x0b4f_23d1_9a6e_5c37, 0x13d8_7e0a_41c5_92ef];
/// Number of bytes of texts whose beginnings are summed up, for each key.
const BEGINNINGS_MAX: usize = 16 << 20;
const SHOWN_MAX: usize = 60;

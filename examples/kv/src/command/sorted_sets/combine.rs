//! Unions, intersections and differences of sorted sets, and of sets, whose members count as having score 1.

use std::collections::BTreeMap;

use crate::resp::{Encoder, Reply};
use crate::store::{Collection, Set, SortedSet, WrongType};

use super::super::context::{Arguments, Change, View};
use super::super::errors::{integer, number, syntax_error};
use super::super::lists::limit;
use super::{Done, put_members};

/// The members of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Union,
    Intersection,
    Difference,
}

impl Rule {
    fn name(self) -> &'static str {
        match self {
            Self::Union => "zunion",
            Self::Intersection => "zinter",
            Self::Difference => "zdiff",
        }
    }
}

/// The score of a member that several sets have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Least,
    Greatest,
}

/// A set with scores.
#[derive(Clone, Copy)]
enum Source<'a> {
    Absent,
    Plain(&'a Set),
    Sorted(&'a SortedSet),
}

impl<'a> Source<'a> {
    fn of(view: &View<'a>, key: &[u8]) -> Result<Self, WrongType> {
        let Some(record) = view.store.get(view.at.log_time, key) else {
            return Ok(Self::Absent);
        };
        let value = record.as_value().ok_or(WrongType)?;
        let sorted = SortedSet::of(value).map(Self::Sorted);
        sorted.or_else(|| Set::of(value).map(Self::Plain)).ok_or(WrongType)
    }

    fn len(self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Plain(Set(members)) => members.len(),
            Self::Sorted(set) => set.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Absent => None,
            Self::Plain(Set(members)) => members.contains(member).then_some(1.0),
            Self::Sorted(set) => set.score(member),
        }
    }

    fn members(self) -> Vec<(f64, &'a [u8])> {
        match self {
            Self::Absent => Vec::new(),
            Self::Plain(Set(members)) => members.iter().map(|(name, _)| (1.0, name)).collect(),
            Self::Sorted(set) => set.iter_from(0).collect(),
        }
    }
}

struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
}

impl Options {
    fn parse(options: &[&[u8]], keys: usize, rule: Rule, may_have_scores: bool) -> Result<Self, Reply> {
        let mut parsed = Self { weights: vec![1.0; keys], aggregate: Aggregate::Sum, with_scores: false };
        let mut options = options;
        while let Some((option, after)) = options.split_first() {
            options = after;
            match option.to_ascii_lowercase().as_slice() {
                b"weights" if rule != Rule::Difference && after.len() >= keys => {
                    let weights = after[..keys].iter().map(|text| crate::store::parse_double(text));
                    let weights: Option<_> = weights.collect();
                    parsed.weights = weights.ok_or_else(|| Reply::error("ERR weight value is not a float"))?;
                    options = &after[keys..];
                }
                b"aggregate" if rule != Rule::Difference && !after.is_empty() => {
                    parsed.aggregate = match after[0].to_ascii_lowercase().as_slice() {
                        b"sum" => Aggregate::Sum,
                        b"min" => Aggregate::Least,
                        b"max" => Aggregate::Greatest,
                        _ => return Err(syntax_error()),
                    };
                    options = &after[1..];
                }
                b"withscores" if may_have_scores => parsed.with_scores = true,
                _ => return Err(syntax_error()),
            }
        }
        Ok(parsed)
    }
}

fn keys_and_options<'b, 'a>(
    rest: Arguments<'b, 'a>,
    command: &str,
) -> Result<(Arguments<'b, 'a>, Arguments<'b, 'a>), Reply> {
    let wanted = integer(rest[0])?;
    let wanted = usize::try_from(wanted).ok().filter(|wanted| *wanted > 0);
    let wanted =
        wanted.ok_or_else(|| Reply::error(format!("ERR at least 1 input key is needed for '{command}' command")))?;
    rest[1..].split_at_checked(wanted).ok_or_else(syntax_error)
}

fn weighed(score: f64, weight: f64) -> f64 {
    let product = score * weight;
    if product.is_nan() { 0.0 } else { product }
}

impl Aggregate {
    fn join(self, left: f64, right: f64) -> f64 {
        match self {
            // The infinities cancel each other, as in Redis.
            Self::Sum if (left + right).is_nan() => 0.0,
            Self::Sum => left + right,
            Self::Least => left.min(right),
            Self::Greatest => left.max(right),
        }
    }
}

fn combine(view: &View<'_>, keys: &[&[u8]], options: &Options, rule: Rule) -> Result<SortedSet, WrongType> {
    let sources: Vec<Source<'_>> = keys.iter().map(|key| Source::of(view, key)).collect::<Result<_, _>>()?;
    let mut scores: BTreeMap<&[u8], f64> = BTreeMap::new();
    match rule {
        Rule::Union => {
            for (source, weight) in sources.iter().zip(&options.weights) {
                for (score, member) in source.members() {
                    let score = weighed(score, *weight);
                    let joined = |before: &mut f64| *before = options.aggregate.join(*before, score);
                    scores.entry(member).and_modify(joined).or_insert(score);
                }
            }
        }
        Rule::Intersection => {
            let smallest = sources.iter().min_by_key(|source| source.len()).copied();
            for (_, member) in smallest.map_or_else(Vec::new, Source::members) {
                let each = sources.iter().zip(&options.weights);
                let each: Option<Vec<_>> =
                    each.map(|(source, weight)| Some(weighed(source.score(member)?, *weight))).collect();
                if let Some(score) = each.and_then(|each| each.into_iter().reduce(|a, b| options.aggregate.join(a, b)))
                {
                    scores.insert(member, score);
                }
            }
        }
        Rule::Difference => {
            let (first, others) = sources.split_first().expect("there is a key");
            let alone = first.members().into_iter();
            let alone = alone.filter(|(_, member)| others.iter().all(|other| other.score(member).is_none()));
            scores.extend(alone.map(|(score, member)| (member, score)));
        }
    }
    let mut built = SortedSet::default();
    for (member, score) in scores {
        built.set(member, score);
    }
    Ok(built)
}

pub(super) fn read(view: &View<'_>, rest: &[&[u8]], rule: Rule, out: &mut Encoder<'_>) -> Done {
    let (keys, options) = keys_and_options(rest, rule.name())?;
    let options = Options::parse(options, keys.len(), rule, true)?;
    let built = combine(view, keys, &options, rule)?;
    let members: Vec<_> = built.iter_from(0).collect();
    put_members(members.into_iter(), options.with_scores, out)
}

pub(super) fn store(change: &mut Change<'_>, rest: &[&[u8]], rule: Rule, out: &mut Encoder<'_>) -> Done {
    let (keys, options) = keys_and_options(&rest[1..], &format!("{}store", rule.name()))?;
    let options = Options::parse(options, keys.len(), rule, false)?;
    let built = combine(&change.view(), keys, &options, rule)?;
    out.integer(number(built.len()));
    change.store.put(rest[0], built, None);
    Ok(())
}

pub(super) fn intersection_count(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (keys, options) = keys_and_options(rest, "zintercard")?;
    let limit = limit(options)?;
    let parsed = Options::parse(&[], keys.len(), Rule::Intersection, false)?;
    let common = combine(view, keys, &parsed, Rule::Intersection)?.len();
    out.integer(number(common.min(limit)));
    Ok(())
}

//! `LCS`.

use crate::resp::{Encoder, Reply};

use super::context::View;
use super::errors::{integer, is, number, syntax_error};

/// A run of bytes that two strings share: its place in each, and its length.
struct Match {
    left: usize,
    right: usize,
    length: usize,
}

/// The lengths of the longest common subsequences of all beginnings of two strings.
struct Lengths {
    width: usize,
    lengths: Vec<u32>,
}

#[derive(Default)]
struct Options {
    wants_length: bool,
    wants_matches: bool,
    with_lengths: bool,
    length_min: usize,
}

impl Options {
    fn parse(options: &[&[u8]]) -> Result<Self, Reply> {
        let mut parsed = Self::default();
        let mut rest = options;
        while let Some((option, after)) = rest.split_first() {
            rest = after;
            match option {
                option if is(option, "idx") => parsed.wants_matches = true,
                option if is(option, "len") => parsed.wants_length = true,
                option if is(option, "withmatchlen") => parsed.with_lengths = true,
                option if is(option, "minmatchlen") && !after.is_empty() => {
                    parsed.length_min = usize::try_from(integer(after[0])?).unwrap_or(0);
                    rest = &after[1..];
                }
                _ => return Err(syntax_error()),
            }
        }
        if parsed.wants_matches && parsed.wants_length {
            return Err(Reply::error("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(parsed)
    }
}

impl Lengths {
    fn new(left: &[u8], right: &[u8]) -> Self {
        let width = right.len() + 1;
        let mut table = Self { width, lengths: vec![0; (left.len() + 1) * width] };
        for (row, one) in left.iter().enumerate() {
            for (column, other) in right.iter().enumerate() {
                table.lengths[(row + 1) * width + column + 1] = if one == other {
                    table.at(row, column) + 1
                } else {
                    table.at(row, column + 1).max(table.at(row + 1, column))
                };
            }
        }
        table
    }

    fn at(&self, row: usize, column: usize) -> u32 {
        self.lengths[row * self.width + column]
    }

    /// The runs of the longest common subsequence, the last one first.
    fn matches(&self, left: &[u8], right: &[u8]) -> Vec<Match> {
        let (mut row, mut column) = (left.len(), right.len());
        let mut matches: Vec<Match> = Vec::new();
        while row > 0 && column > 0 {
            if left[row - 1] == right[column - 1] {
                (row, column) = (row - 1, column - 1);
                match matches.last_mut() {
                    Some(last) if last.left == row + 1 && last.right == column + 1 => {
                        *last = Match { left: row, right: column, length: last.length + 1 };
                    }
                    _ => matches.push(Match { left: row, right: column, length: 1 }),
                }
            } else if self.at(row - 1, column) > self.at(row, column - 1) {
                row -= 1;
            } else {
                column -= 1;
            }
        }
        matches
    }
}

pub(super) fn longest_common_subsequence(view: &View<'_>, rest: &[&[u8]], out: &mut Encoder<'_>) -> Result<(), Reply> {
    let wrong = || Reply::error("ERR The specified keys must contain string values");
    let left = view.text(rest[0]).map_err(|_| wrong())?.unwrap_or_default();
    let right = view.text(rest[1]).map_err(|_| wrong())?.unwrap_or_default();
    let options = Options::parse(&rest[2..])?;
    if left.len().saturating_mul(right.len()) > STEPS_MAX {
        return Err(Reply::error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"));
    }
    let lengths = Lengths::new(left, right);
    let length = i64::from(lengths.at(left.len(), right.len()));
    if options.wants_length {
        out.integer(length);
        return Ok(());
    }
    let mut matches = lengths.matches(left, right);
    if !options.wants_matches {
        let common: Vec<&[u8]> = matches.iter().rev().map(|found| &left[found.left..][..found.length]).collect();
        out.bulk(&common.concat());
        return Ok(());
    }
    matches.retain(|found| found.length >= options.length_min);
    out.map(2);
    out.bulk(b"matches");
    out.array(matches.len());
    for Match { left, right, length } in matches {
        out.array(if options.with_lengths { 3 } else { 2 });
        for start in [left, right] {
            out.array(2);
            out.integer(number(start));
            out.integer(number(start + length - 1));
        }
        if options.with_lengths {
            out.integer(number(length));
        }
    }
    out.bulk(b"len");
    out.integer(length);
    Ok(())
}

/// Steps that a search takes at most: some milliseconds on the loop.
const STEPS_MAX: usize = 4_000_000;

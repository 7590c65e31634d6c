//! Rules and systems as text.
//!
//! ```text
//! system := rule                                      of both phases
//!         | "prepare" rule "accept" rule
//! rule   := count "of" "[" item { "," item } "]" | node
//! count  := number | "any" | "majority" | "all"
//! item   := [ weight "*" ] rule
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use quorate_protocol::NodeId;

use super::rule::{QuorumRule, Shape, check_list, total};
use super::{ACCEPTORS_MAX, QuorumError, QuorumSystem, RULE_DEPTH_MAX, RULE_TERMS_MAX};

/// Reason why a text is no rule or no quorum system.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuorumTextError {
    /// Something else stands here than can be read.
    Unexpected {
        /// Number of the byte at which it begins, from 0 on.
        at: usize,
        /// What it is: a word, a number or a sign; empty at the end of the text.
        found: String,
        /// What may stand here.
        expected: &'static str,
    },
    /// What was read cannot be used.
    Invalid {
        /// Number of the byte at which it begins, from 0 on.
        at: usize,
        /// The reason.
        reason: QuorumError,
    },
    /// Every part can be read, and the system as a whole cannot be used.
    System(QuorumError),
}

impl fmt::Display for QuorumTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { at, found, expected } if found.is_empty() => {
                write!(f, "at byte {at}: the text ends, expected {expected}")
            }
            Self::Unexpected { at, found, expected } => write!(f, "at byte {at}: found {found:?}, expected {expected}"),
            Self::Invalid { at, reason } => write!(f, "at byte {at}: {reason}"),
            Self::System(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for QuorumTextError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid { reason, .. } => Some(reason),
            Self::Unexpected { .. } | Self::System(_) => None,
        }
    }
}

impl fmt::Display for QuorumRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (needed, of) = match &self.shape {
            Shape::Node(node) => return node.fmt(f),
            Shape::AtLeast { needed, of } => (*needed, of),
        };
        match total(of) {
            all if all == needed => f.write_str("all")?,
            all if all / 2 + 1 == needed => f.write_str("majority")?,
            _ if needed == 1 => f.write_str("any")?,
            _ => needed.fmt(f)?,
        }
        for (at, item) in of.iter().enumerate() {
            f.write_str(if at == 0 { " of [" } else { ", " })?;
            if item.weight != 1 {
                write!(f, "{} * ", item.weight)?;
            }
            item.fmt(f)?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for QuorumSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prepare == self.accept {
            return self.prepare.fmt(f);
        }
        write!(f, "prepare {} accept {}", self.prepare, self.accept)
    }
}

impl FromStr for QuorumRule {
    type Err = QuorumTextError;

    fn from_str(text: &str) -> Result<Self, QuorumTextError> {
        let mut reader = Reader::new(text);
        let rule = reader.rule(RULE_DEPTH_MAX)?;
        reader.end()?;
        Ok(rule)
    }
}

impl FromStr for QuorumSystem {
    type Err = QuorumTextError;

    fn from_str(text: &str) -> Result<Self, QuorumTextError> {
        let mut reader = Reader::new(text);
        let is_one = reader.next.word != "prepare";
        let system = if is_one {
            Self::symmetric(reader.rule(RULE_DEPTH_MAX)?)
        } else {
            reader.advance();
            let prepare = reader.rule(RULE_DEPTH_MAX)?;
            reader.expect("accept", "`accept`")?;
            Self::new(prepare, reader.rule(RULE_DEPTH_MAX)?)
        };
        reader.end()?;
        system.map_err(QuorumTextError::System)
    }
}

/// Reads a text from left to right.
struct Reader<'a> {
    text: &'a str,
    next: Token<'a>,
    nodes: BTreeSet<NodeId>,
    terms: usize,
}

/// A word, a number or a sign; empty at the end.
#[derive(Clone, Copy)]
struct Token<'a> {
    at: usize,
    word: &'a str,
}

impl Token<'_> {
    fn expected(self, expected: &'static str) -> QuorumTextError {
        QuorumTextError::Unexpected { at: self.at, found: self.word.chars().take(FOUND_CHARS_MAX).collect(), expected }
    }

    fn invalid(self, reason: QuorumError) -> QuorumTextError {
        QuorumTextError::Invalid { at: self.at, reason }
    }

    fn number<N: FromStr>(self, expected: &'static str) -> Result<N, QuorumTextError> {
        // A sign before a number is not part of it.
        let digits = Some(self.word).filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.expected(expected))
    }
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let mut reader = Self { text, next: Token { at: 0, word: "" }, nodes: BTreeSet::new(), terms: RULE_TERMS_MAX };
        reader.advance();
        reader
    }

    /// Goes to the next token, and returns this one.
    fn advance(&mut self) -> Token<'a> {
        let behind = self.next.at + self.next.word.len();
        let rest = self.text[behind..].trim_start();
        let is_part = |char: char| char.is_alphanumeric() || char == '_';
        let length = match rest.find(|char| !is_part(char)) {
            Some(0) => rest.chars().next().map_or(0, char::len_utf8),
            Some(length) => length,
            None => rest.len(),
        };
        std::mem::replace(&mut self.next, Token { at: self.text.len() - rest.len(), word: &rest[..length] })
    }

    fn expect(&mut self, word: &str, expected: &'static str) -> Result<(), QuorumTextError> {
        if self.next.word != word {
            return Err(self.next.expected(expected));
        }
        self.advance();
        Ok(())
    }

    fn end(&self) -> Result<(), QuorumTextError> {
        if self.next.word.is_empty() { Ok(()) } else { Err(self.next.expected("the end")) }
    }

    /// Reads a rule that may contain lists `depth` deep.
    fn rule(&mut self, depth: usize) -> Result<QuorumRule, QuorumTextError> {
        let first = self.advance();
        self.rule_after(first, depth)
    }

    fn rule_after(&mut self, first: Token<'_>, depth: usize) -> Result<QuorumRule, QuorumTextError> {
        self.terms = self.terms.checked_sub(1).ok_or_else(|| first.invalid(QuorumError::TooLong))?;
        if self.next.word != "of" && first.word.starts_with(|char: char| char.is_ascii_digit()) {
            return self.node(first);
        }
        let needed = match first.word {
            "any" | "majority" | "all" => None,
            _ => Some(first.number("a number, `any`, `majority` or `all`")?),
        };
        self.expect("of", "`of`")?;
        let depth = depth.checked_sub(1).ok_or_else(|| first.invalid(QuorumError::TooDeep))?;
        let of = self.list(depth)?;
        let rule = match (first.word, needed) {
            (_, Some(needed)) => QuorumRule::at_least(needed, of),
            ("any", _) => QuorumRule::any_of(of),
            ("all", _) => QuorumRule::all_of(of),
            _ => QuorumRule::majority_of(of),
        };
        if let Shape::AtLeast { needed, of } = &rule.shape {
            check_list(*needed, of).map_err(|reason| first.invalid(reason))?;
        }
        Ok(rule)
    }

    fn node(&mut self, token: Token<'_>) -> Result<QuorumRule, QuorumTextError> {
        let node = NodeId(token.number("the number of a node")?);
        self.nodes.insert(node);
        if self.nodes.len() > ACCEPTORS_MAX {
            return Err(token.invalid(QuorumError::TooMany));
        }
        Ok(node.into())
    }

    fn list(&mut self, depth: usize) -> Result<Vec<QuorumRule>, QuorumTextError> {
        self.expect("[", "`[`")?;
        let mut of: Vec<QuorumRule> = Vec::new();
        loop {
            let first = self.advance();
            let item = if self.next.word == "*" {
                let weight = first.number("a weight up to 65535")?;
                self.advance();
                self.rule(depth)?.weighing(weight)
            } else {
                self.rule_after(first, depth)?
            };
            if let Shape::Node(node) = item.shape
                && of.iter().any(|other| matches!(other.shape, Shape::Node(earlier) if earlier == node))
            {
                return Err(first.invalid(QuorumError::Repeated(node)));
            }
            if item.weight == 0 {
                return Err(first.invalid(QuorumError::Weight));
            }
            of.push(item);
            if self.next.word != "," {
                self.expect("]", "`,` or `]`")?;
                return Ok(of);
            }
            self.advance();
        }
    }
}

/// Characters of a token that an error repeats.
const FOUND_CHARS_MAX: usize = 20;

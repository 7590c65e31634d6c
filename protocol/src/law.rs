//! Laws across nodes.

use std::fmt;

use crate::{NodeId, Protocol};

/// A law that holds across the nodes of a group, such as one leader a term.
///
/// A law may remember what it saw: that a term had a leader, what was committed where.
pub trait Law<P: Protocol> {
    /// What the law is called in reports.
    fn name(&self) -> &'static str;

    /// Looks at all running nodes after a step.
    ///
    /// # Errors
    /// When the law is broken, and how.
    fn check(&mut self, nodes: &[(NodeId, &P)]) -> Result<(), Violation>;
}

/// A broken law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The law's name.
    pub law: &'static str,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.detail)
    }
}

impl std::error::Error for Violation {}

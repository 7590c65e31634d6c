//! Laws across nodes.

use std::fmt;

use crate::{NodeId, Protocol};

/// A law that holds across the nodes of a group, such as one leader a term.
///
/// A law may keep state between checks, for example the leader of each term.
pub trait Law<P: Protocol> {
    /// Name of the law in reports.
    fn name(&self) -> &'static str;

    /// Checks all running nodes after a step.
    ///
    /// # Errors
    /// When the law is broken; the violation says how.
    fn check(&mut self, nodes: &[(NodeId, &P)]) -> Result<(), Violation>;
}

/// A broken law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The law's name.
    pub law: &'static str,
    /// Description of the violation.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.detail)
    }
}

impl std::error::Error for Violation {}

//! The laws that a cluster checks.

use std::fmt;

use crate::{Law, NodeId, Protocol};

/// Laws that are checked after every step.
pub struct Laws<P>(Vec<Box<dyn Law<P>>>);

impl<P: Protocol> Laws<P> {
    /// Makes a set of laws.
    #[must_use]
    pub fn new(laws: Vec<Box<dyn Law<P>>>) -> Self {
        Self(laws)
    }

    /// Checks every law on all running nodes.
    ///
    /// # Panics
    /// When a law is broken.
    pub fn check(&mut self, running: &[(NodeId, &P)]) {
        for law in &mut self.0 {
            if let Err(violation) = law.check(running) {
                panic!("{violation}");
            }
        }
    }
}

impl<P: Protocol> fmt::Debug for Laws<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|law| law.name())).finish()
    }
}

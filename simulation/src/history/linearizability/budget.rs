//! The bound on the steps of a search.

/// Number of steps that a search may still take. All work that grows with the search is counted: calls and answers
/// passed, and comparisons with earlier attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchBudget {
    steps: u64,
}

impl SearchBudget {
    /// A budget of this number of steps. About ten million take a second.
    #[must_use]
    pub const fn of_steps(steps: u64) -> Self {
        Self { steps }
    }

    /// The steps that are left.
    #[must_use]
    pub const fn steps_left(self) -> u64 {
        self.steps
    }

    /// Spends this number of steps. If fewer are left, all are spent.
    pub(in crate::history) fn charge(&mut self, steps: usize) -> Result<(), Spent> {
        let left = self.steps.checked_sub(steps as u64);
        self.steps = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Spent)
    }

    pub(super) fn spend(&mut self) -> Result<(), Spent> {
        self.steps = self.steps.checked_sub(1).ok_or(Spent)?;
        Ok(())
    }
}

impl Default for SearchBudget {
    /// 200 million steps.
    fn default() -> Self {
        Self::of_steps(200_000_000)
    }
}

/// The budget ran out.
pub(in crate::history) struct Spent;

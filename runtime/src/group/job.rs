//! Work of a group that must not hold up the loop.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::panics::panic_message;

/// Result of a job: a value that only its group understands, or the text of its panic.
pub type JobResult = Result<Box<dyn Any + Send>, String>;

/// Work that must not hold up the loop.
pub struct Job(pub Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>);

impl Job {
    /// Runs the job on the current thread. A panic does not leave this function.
    ///
    /// # Errors
    /// If the job panicked: the text of its panic.
    pub fn run(self) -> JobResult {
        catch_unwind(AssertUnwindSafe(self.0)).map_err(|payload| panic_message(&*payload))
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

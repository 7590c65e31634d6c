//! What a node has measured of its clients' commands since it started. Nothing of it is replicated.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::command::Spec;

mod calls;
mod refusals;
mod slow_log;

pub use calls::Calls;
pub use refusals::{Refusal, Refusals};
pub use slow_log::{SlowCommand, SlowLog};

/// The calls and errors of a node's clients.
#[derive(Debug, Default)]
pub struct Stats {
    /// By the place of the command among all commands.
    commands: Vec<CommandStats>,
    /// By the full name of the subcommand.
    subcommands: BTreeMap<String, CommandStats>,
    /// Number of error replies by code.
    errors: BTreeMap<Box<str>, u64>,
    /// The slow commands.
    pub slow_log: SlowLog,
    /// What clients were refused.
    pub refusals: Refusals,
}

/// The calls of one command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandStats {
    /// Number of calls that were carried out.
    pub calls: u64,
    /// Microseconds from taking each call to its reply, together.
    pub micros: u64,
    /// Number of calls that were refused before they were carried out.
    pub rejected: u64,
    /// Number of calls that were carried out and answered by an error.
    pub failed: u64,
    /// Number of calls that took up to 1, 2, 4, ... microseconds.
    pub histogram: [u64; BUCKETS],
}

/// Number of classes of duration; the last is for all above an hour.
pub const BUCKETS: usize = 32;

impl Stats {
    /// Notes calls that took this time each.
    pub fn note_calls(&mut self, calls: &Calls, micros: u64) {
        for (command, count) in calls.iter() {
            self.command(command).note(u64::from(count), micros);
        }
    }

    /// Notes a call that was answered at once.
    pub fn note_call(&mut self, command: usize) {
        self.command(command).note(1, 0);
    }

    /// Notes a call of a subcommand, which was answered at once.
    pub fn note_subcommand(&mut self, full_name: String) {
        self.subcommands.entry(full_name).or_default().note(1, 0);
    }

    /// Notes a call that was refused before it was carried out.
    pub fn note_rejected(&mut self, command: usize) {
        self.command(command).rejected += 1;
    }

    /// Notes that a call which was carried out was answered by an error.
    pub fn note_failed(&mut self, command: usize) {
        self.command(command).failed += 1;
    }

    /// Notes an error reply by its text.
    pub fn note_error(&mut self, text: &[u8]) {
        let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        let code = &code[..code.len().min(CODE_BYTES_MAX)];
        let code = String::from_utf8_lossy(code);
        if let Some(count) = self.errors.get_mut(&*code) {
            *count += 1;
        } else if self.errors.len() < CODES_MAX {
            self.errors.insert(code.into(), 1);
        }
    }

    /// Forgets calls and errors (`CONFIG RESETSTAT`).
    pub fn reset(&mut self) {
        *self = Self { slow_log: std::mem::take(&mut self.slow_log), ..Self::default() };
    }

    /// The commands that were called or refused, with their names.
    pub fn commands(&self) -> impl Iterator<Item = (&str, &CommandStats)> {
        let commands = self.commands.iter().enumerate().map(|(place, stats)| (Spec::at(place).name, stats));
        let subcommands = self.subcommands.iter().map(|(name, stats)| (&**name, stats));
        commands.chain(subcommands).filter(|(_, stats)| stats.calls + stats.rejected + stats.failed > 0)
    }

    /// The lines of `INFO commandstats`.
    pub fn command_lines(&self) -> Vec<(String, String)> {
        let line = |(name, stats): (&str, &CommandStats)| {
            let CommandStats { calls, micros, rejected, failed, .. } = stats;
            #[allow(clippy::cast_precision_loss)]
            let each = if *calls == 0 { 0.0 } else { *micros as f64 / *calls as f64 };
            let mut value = format!("calls={calls},usec={micros},usec_per_call={each:.2}");
            write!(value, ",rejected_calls={rejected},failed_calls={failed}").expect("a string takes all");
            (format!("cmdstat_{name}"), value)
        };
        self.commands().map(line).collect()
    }

    /// The lines of `INFO errorstats`.
    pub fn error_lines(&self) -> Vec<(String, String)> {
        self.errors.iter().map(|(code, count)| (format!("errorstat_{code}"), format!("count={count}"))).collect()
    }

    /// Number of error replies by code.
    pub fn error_counts(&self) -> &BTreeMap<Box<str>, u64> {
        &self.errors
    }

    /// Number of error replies.
    pub fn errors(&self) -> u64 {
        self.errors.values().sum()
    }

    fn command(&mut self, place: usize) -> &mut CommandStats {
        if self.commands.len() <= place {
            self.commands.resize_with(place + 1, CommandStats::default);
        }
        &mut self.commands[place]
    }
}

impl CommandStats {
    fn note(&mut self, count: u64, micros: u64) {
        self.calls += count;
        self.micros = self.micros.saturating_add(micros.saturating_mul(count));
        let bucket = u64::BITS - micros.saturating_sub(1).leading_zeros();
        self.histogram[(bucket as usize).min(BUCKETS - 1)] += count;
    }

    /// The upper bounds in microseconds of the classes in which calls were, with the number of calls up to each.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut sum = 0;
        let classes = (0..).zip(self.histogram).filter(|(_, count)| *count > 0);
        classes
            .map(|(class, count): (u32, u64)| {
                sum += count;
                (1 << class, sum)
            })
            .collect()
    }
}

/// Maximum number of codes of errors that are counted. Scripts can make up any.
const CODES_MAX: usize = 128;
const CODE_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests;

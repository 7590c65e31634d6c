//! Reasons not to carry out commands, and their time.

use quorate_protocol::{Instant, Standing};

use super::CommandRefusal;
use super::base::Base;

/// Reason to refuse a command, if `waiting` others wait.
pub(super) fn refusal(base: &Base, key: &[u8], waiting: usize) -> Option<CommandRefusal> {
    let settings = base.config.settings();
    if !(1..=settings.key_bytes_max).contains(&key.len()) {
        return Some(CommandRefusal::Key);
    }
    if !base.is_proposer() {
        return Some(CommandRefusal::NotProposer);
    }
    (waiting >= settings.commands_max).then_some(CommandRefusal::Overloaded)
}

/// Reason to refuse a command that needs a ballot.
pub(super) fn unable(base: &Base) -> Option<CommandRefusal> {
    if base.is_exhausted() {
        return Some(CommandRefusal::BallotsExhausted);
    }
    let own = base.chassis.standings().get(&base.node());
    (own == Some(&Standing::Stranger)).then_some(CommandRefusal::Stranger)
}

/// Reason why a command had no result in time.
pub(super) fn late(base: &Base) -> CommandRefusal {
    let is_introduced = base.chassis.standings().contains_key(&base.node());
    if is_introduced { CommandRefusal::TimedOut } else { CommandRefusal::NotIntroduced }
}

/// Time at which a command that begins now ends.
pub(super) fn timeout(base: &Base) -> Instant {
    base.chassis.instant().after(base.config.settings().command_timeout)
}

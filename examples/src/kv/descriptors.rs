//! File descriptors: how many the process may have, and how many of them clients may take.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files as far as the system allows without asking, and returns it.
///
/// # Errors
/// When the system refuses what it says it allows.
pub fn raise_limit() -> io::Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.maximum.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// How many clients a node may have, when the process may open `limit` files and runs `nodes` nodes. The rest is kept
/// for the nodes themselves: their log, their snapshots, their peers and the http port.
pub fn clients_max(limit: usize, nodes: usize) -> usize {
    let share = limit / nodes.max(1);
    share.saturating_sub(KEPT_MAX).max(share / 2).min(CLIENTS_MAX)
}

/// Descriptors of a node that clients never get, unless there are too few in all.
const KEPT_MAX: usize = 256;
/// Redis's own limit, unless it is told another.
const CLIENTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::clients_max;

    #[test]
    fn clients_never_get_all_descriptors() {
        assert_eq!(clients_max(1_048_576, 1), 10_000);
        assert_eq!(clients_max(1_024, 1), 768);
        assert_eq!(clients_max(1_024, 3), 170);
        assert_eq!(clients_max(64, 1), 32);
        assert_eq!(clients_max(0, 0), 0);
    }
}

//! File descriptors: the limit of the process, and the number that clients may take.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files as far as the system allows without privileges, and returns it.
///
/// # Errors
/// When the system refuses the limit that it states.
pub fn raise_limit() -> io::Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.maximum.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// Maximum number of clients of a node, if the process may open `limit` files and runs `nodes` nodes. The other
/// descriptors are kept for the nodes: their log, their snapshots, their peers and the http port.
pub fn clients_max(limit: usize, nodes: usize) -> usize {
    let share = limit / nodes.max(1);
    share.saturating_sub(KEPT_MAX).max(share / 2).min(CLIENTS_MAX)
}

/// Descriptors of a node that clients never get. If the node has fewer than twice this number, clients get half.
const KEPT_MAX: usize = 256;
/// Redis's default limit.
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

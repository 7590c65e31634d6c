//! Changes of groups that somebody watches.

use std::collections::BTreeMap;

use quorate_protocol::GroupId;
use tokio::sync::watch;

/// The watched groups. A group is forgotten with its last watcher.
#[derive(Debug, Default)]
pub(super) struct Watches {
    groups: BTreeMap<GroupId, watch::Sender<()>>,
}

impl Watches {
    /// Watches a group. The receiver is marked as changed whenever the group has a notice.
    pub(super) fn add(&mut self, group: GroupId) -> watch::Receiver<()> {
        self.groups.retain(|_, watchers| watchers.receiver_count() > 0);
        self.groups.entry(group).or_default().subscribe()
    }

    pub(super) fn on_notice(&mut self, group: GroupId) {
        if let Some(watchers) = self.groups.get(&group) {
            watchers.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_protocol::GroupId;

    use super::Watches;

    #[test]
    fn a_group_is_forgotten_with_its_last_watcher() {
        let mut watches = Watches::default();
        let first = watches.add(GroupId(1));
        let mut second = watches.add(GroupId(1));
        drop(first);
        watches.on_notice(GroupId(1));
        watches.on_notice(GroupId(2));
        assert!(second.has_changed().expect("it is watched"));
        second.mark_unchanged();
        drop(watches.add(GroupId(2)));
        let _third = watches.add(GroupId(3));
        assert_eq!(watches.groups.keys().copied().collect::<Vec<_>>(), [GroupId(1), GroupId(3)]);
    }
}

//! The addresses of the peers: those that the transport knew at the start, and before them those in the configurations
//! of the groups.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::NodeId;
use quorate_transport::{Peer, PeerError, Transport};

use crate::group::notice::Notice;

/// Reads the addresses of a node, the likeliest first, from its context in the configuration of a group. Returns `None`
/// if it cannot read the context.
pub type ReadAddresses = Arc<dyn Fn(&[u8]) -> Option<Vec<String>> + Send + Sync>;

/// Reads a context that is one address as text. See [`ReadAddresses`].
#[must_use]
pub fn read_address(context: &[u8]) -> Option<Vec<String>> {
    let address = std::str::from_utf8(context).ok()?;
    Some(vec![address.to_owned()])
}

/// Keeps the peers of a transport equal to those of a node.
pub(super) struct Addresses {
    read: ReadAddresses,
    /// The peers that the transport knew at the start. They always stay.
    fixed: BTreeMap<NodeId, Peer>,
    /// The contexts of each peer, as the node last told them.
    contexts: BTreeMap<NodeId, Vec<Bytes>>,
}

impl Addresses {
    pub(super) fn new(read: ReadAddresses, transport: &dyn Transport) -> Self {
        let fixed: BTreeMap<_, _> = transport.peers().into_iter().map(|peer| (peer.node, peer)).collect();
        let contexts = fixed.keys().map(|node| (*node, Vec::new())).collect();
        Self { read, fixed, contexts }
    }

    /// Makes these peers known to the transport, and no others but the fixed ones.
    pub(super) fn follow(
        &mut self,
        peers: BTreeMap<NodeId, Vec<Bytes>>,
        transport: &dyn Transport,
        notice: impl Fn(Notice),
    ) {
        let before = std::mem::replace(&mut self.contexts, peers);
        for gone in before.keys().filter(|node| !self.contexts.contains_key(node) && !self.fixed.contains_key(node)) {
            transport.remove_peer(*gone);
        }
        for (node, contexts) in &self.contexts {
            if before.get(node) == Some(contexts) {
                continue;
            }
            if let Err(reason) = self.set(*node, contexts, transport) {
                notice(Notice::PeerAddress { peer: *node, reason });
            }
        }
    }

    /// Makes one peer known. If that fails, the transport knows what it knew before.
    fn set(&self, node: NodeId, contexts: &[Bytes], transport: &dyn Transport) -> Result<(), &'static str> {
        let read: Option<Vec<_>> = contexts.iter().map(|context| self.read(context)).collect();
        let read = read.ok_or("its context cannot be read")?;
        let fixed = self.fixed.get(&node);
        let mut addresses: Vec<String> = Vec::new();
        for address in read.into_iter().chain(fixed.map(|peer| peer.addresses.clone())).flatten() {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err("no address of it is known");
        }
        match transport.set_peer(Peer { node, addresses, incarnation: fixed.and_then(|peer| peer.incarnation) }) {
            Err(PeerError::Address) => Err("an address of it is malformed"),
            // The node is never its own peer, and a transport that is shut down needs no peers.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The function is the application's. A panic in it counts as a context that it cannot read.
    fn read(&self, context: &[u8]) -> Option<Vec<String>> {
        catch_unwind(AssertUnwindSafe(|| (self.read)(context))).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;

    use bytes::Bytes;
    use quorate_protocol::{ClusterId, Identity, Incarnation, NodeId};
    use quorate_transport::tcp::{TcpSettings, TcpTransport};
    use quorate_transport::{Peer, Transport};

    use super::{Addresses, read_address};
    use crate::group::notice::Notice;

    /// Node 1, whose settings name node 2.
    struct World {
        transport: Arc<TcpTransport>,
        addresses: Addresses,
    }

    impl World {
        async fn new() -> Self {
            let identity = Identity { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(1) };
            let transport = TcpTransport::bind(identity, "127.0.0.1:0", TcpSettings::default()).await.expect("a port");
            transport.set_peer(Peer::new(NodeId(2), "file:2")).expect("a right peer");
            let read = |context: &[u8]| {
                assert!(context != b"panic", "told to panic");
                read_address(context)
            };
            let addresses = Addresses::new(Arc::new(read), &*transport);
            Self { transport, addresses }
        }

        /// Follows these peers, and returns the nodes that are noticed.
        fn follow(&mut self, peers: &[(u64, &[&'static [u8]])]) -> Vec<u64> {
            let noticed = RefCell::new(Vec::new());
            let bytes = |contexts: &[&'static [u8]]| contexts.iter().copied().map(Bytes::from_static).collect();
            let peers = peers.iter().map(|(node, contexts)| (NodeId(*node), bytes(contexts))).collect();
            self.addresses.follow(peers, &*self.transport, |notice| match notice {
                Notice::PeerAddress { peer, .. } => noticed.borrow_mut().push(peer.0),
                other => panic!("not expected: {other:?}"),
            });
            noticed.into_inner()
        }

        /// The addresses of a peer, if it is known.
        fn of(&self, node: u64) -> Option<Vec<String>> {
            let peers = self.transport.peers();
            peers.into_iter().find(|peer| peer.node.0 == node).map(|peer| peer.addresses)
        }
    }

    #[tokio::test]
    async fn the_configuration_comes_before_the_settings() {
        let mut world = World::new().await;
        assert_eq!(world.follow(&[(2, &[b"new:2", b"old:2"]), (3, &[b"new:3"])]), []);
        assert_eq!(world.of(2), Some(vec!["new:2".to_owned(), "old:2".to_owned(), "file:2".to_owned()]));
        assert_eq!(world.of(3), Some(vec!["new:3".to_owned()]));
        assert_eq!(world.follow(&[(2, &[b"file:2"])]), []);
        assert_eq!(world.of(2), Some(vec!["file:2".to_owned()]));
        assert_eq!(world.of(3), None, "it is no peer any more");
        assert_eq!(world.follow(&[]), []);
        assert_eq!(world.of(2), Some(vec!["file:2".to_owned()]), "the settings name it");
    }

    #[tokio::test]
    async fn a_context_without_an_address_is_said_once_and_changes_nothing() {
        let mut world = World::new().await;
        assert_eq!(world.follow(&[(2, &[b"new:2"]), (3, &[b"new:3"])]), []);
        for wrong in [&b"\xff"[..], b"nowhere", b"panic"] {
            let peers: [(u64, &[&'static [u8]]); 3] = [(2, &[wrong]), (3, &[wrong]), (4, &[wrong])];
            assert_eq!(world.follow(&peers), [2, 3, 4]);
            assert_eq!(world.follow(&peers), []);
            let first = |node| world.of(node).map(|addresses| addresses[0].clone());
            assert_eq!((first(2), first(3)), (Some("new:2".to_owned()), Some("new:3".to_owned())));
            assert_eq!(world.of(4), None);
        }
        assert_eq!(world.follow(&[(2, &[]), (5, &[])]), [5], "nothing says where node 5 is");
        assert_eq!(world.of(2), Some(vec!["file:2".to_owned()]));
    }
}

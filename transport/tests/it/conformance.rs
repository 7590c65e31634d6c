//! The suite, run on every transport of the crate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use quorate_protocol::{Identity, NodeId};
use quorate_transport::Transport;
use quorate_transport::conformance::{Harness, LIMITS, failures};
use quorate_transport::memory::{DeliveryTime, Network};
use quorate_transport::tcp::{TcpSettings, TcpTransport};
use tokio::runtime::Runtime;

use crate::tls::Authority;

/// A network in memory, without a runtime.
struct Memory(Network);

impl Memory {
    fn new() -> Self {
        Self(Network::new(LIMITS, DeliveryTime::OnSettle).expect("the limits fit"))
    }
}

impl Harness for Memory {
    fn join(&mut self, identity: Identity) -> Arc<dyn Transport> {
        self.0.join(identity)
    }

    fn address(&self, node: NodeId) -> String {
        format!("memory:{node}")
    }

    fn settle(&mut self, until: &mut dyn FnMut() -> bool) -> bool {
        (0..STEPS_MAX).any(|_| {
            self.0.settle();
            until()
        })
    }

    fn shutdown(&mut self, transport: &dyn Transport) {
        let mut context = Context::from_waker(Waker::noop());
        let ended = transport.shutdown().as_mut().poll(&mut context);
        assert!(ended.is_ready(), "a network in memory never waits");
    }
}

/// The same with TLS.
fn tcp_with_tls() -> Tcp {
    Tcp { authority: Some(Authority::new()), ..Tcp::new() }
}

/// TCP on loopback, on a runtime that runs only while the harness settles.
struct Tcp {
    runtime: Runtime,
    nodes: BTreeMap<NodeId, Arc<TcpTransport>>,
    /// Signs the certificates of the nodes, if they encrypt.
    authority: Option<Authority>,
    /// Bound but never accepted from, so that no node answers there.
    nobody: std::net::TcpListener,
}

impl Tcp {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self { runtime, nodes: BTreeMap::new(), authority: None, nobody }
    }
}

impl Harness for Tcp {
    fn join(&mut self, identity: Identity) -> Arc<dyn Transport> {
        // At the address of nobody a dial waits for the handshake until its time is over.
        let settings = TcpSettings {
            limits: LIMITS,
            handshake_timeout: Duration::from_millis(500),
            backoff_max: Duration::from_millis(100),
            ..TcpSettings::default()
        };
        self.nodes.remove(&identity.node);
        let tls = self.authority.as_ref().map(|authority| authority.tls(identity.node.0));
        let transport = self.runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            TcpTransport::encrypted(identity, listener, settings, tls).expect("right settings")
        });
        self.nodes.insert(identity.node, transport.clone());
        transport
    }

    fn address(&self, node: NodeId) -> String {
        let nobody = || self.nobody.local_addr().expect("it is bound");
        self.nodes.get(&node).map_or_else(nobody, |transport| transport.local_address()).to_string()
    }

    fn settle(&mut self, until: &mut dyn FnMut() -> bool) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if until() {
                return true;
            }
            // No event stands for any condition that a test has. The pause only lets the transport's tasks run.
            self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        }
        false
    }

    fn shutdown(&mut self, transport: &dyn Transport) {
        self.runtime.block_on(transport.shutdown());
    }
}

#[test]
fn memory_keeps_the_contract() {
    assert_eq!(failures(Memory::new), []);
}

#[test]
fn tcp_keeps_the_contract() {
    assert_eq!(failures(Tcp::new), []);
}

#[test]
fn tcp_with_tls_keeps_the_contract() {
    assert_eq!(failures(tcp_with_tls), []);
}

/// A wait so long that only a transport that has stopped exceeds it.
const PATIENCE: Duration = Duration::from_secs(20);

/// In a network without delays every frame arrives within this number of steps.
const STEPS_MAX: usize = 5;

//! Servers as other programs list them: some listed twice, some that get no keys.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::error::BuildError;
use crate::node::{Node, NodeIndex, Nodes, Weight};

/// A server as another program's configuration lists it. Unlike a [`Node`] it may be listed twice and may have weight
/// zero.
///
/// | system | the name |
/// | --- | --- |
/// | libmemcached | `host:port`, `[IPv6 address]:port`, or the path of a Unix socket; port 11211 may be left out |
/// | twemproxy | `host:port` or the path of a socket; if the server has a name, it is `hashed` |
/// | nginx | as in `server`: `host`, `host:port` or `unix:PATH` |
/// | Envoy, gRPC | the address `ip:port`, the host name, or the `hash_key` of the metadata |
/// | Varnish | the name of the backend in VCL; an `ident`, if given, is `hashed` |
/// | Traffic Server | `host:port`; the string after `&` is `hashed` |
/// | others | the text that the program was given |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The name, in the form of the table above.
    pub name: Box<str>,
    /// The weight; `None` if it is zero.
    pub weight: Option<Weight>,
    /// Text that the program hashes instead of the text that it derives from the name.
    pub hashed: Option<Box<str>>,
    /// The `id` of a server in HAProxy.
    pub id: Option<u32>,
}

impl Server {
    /// Makes a server of weight one with a name only.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self { name: name.into(), weight: Some(Weight::ONE), hashed: None, id: None }
    }
}

impl From<&Node> for Server {
    fn from(node: &Node) -> Self {
        Self { weight: Some(node.weight()), ..Self::new(node.name()) }
    }
}

/// The names of listed servers, each once.
pub(super) struct Listing<'a> {
    /// The distinct names.
    pub(super) names: BTreeMap<&'a str, NodeIndex>,
    /// The number of each server's name, in the order of the list.
    pub(super) numbers: Vec<NodeIndex>,
}

impl<'a> Listing<'a> {
    pub(super) fn of(servers: &'a [Server]) -> Result<Self, BuildError> {
        let mut names = BTreeMap::new();
        let mut numbers = Vec::with_capacity(servers.len());
        for server in servers {
            if server.name.is_empty() {
                return Err(BuildError::EmptyName);
            }
            let next = NodeIndex::new(names.len());
            numbers.push(*names.entry(&*server.name).or_insert(next));
        }
        Ok(Self { names, numbers })
    }

    /// The servers that own keys as nodes, and the names of the others.
    pub(super) fn nodes(&self, servers: &[Server], owns: &[bool]) -> Result<(Nodes, Vec<Box<str>>), BuildError> {
        let mut nodes: Vec<Option<Node>> = vec![None; self.names.len()];
        let mut keyless: Vec<Box<str>> = Vec::new();
        let mut seen = vec![false; self.names.len()];
        for (server, number) in servers.iter().zip(&self.numbers) {
            if core::mem::replace(&mut seen[number.get()], true) {
                continue;
            }
            if owns[number.get()] {
                let node = Node::new(server.name.clone()).with_weight(server.weight.unwrap_or_default());
                nodes[number.get()] = Some(node);
            } else {
                keyless.push(server.name.clone());
            }
        }
        Ok((Nodes::with_holes(nodes)?, keyless))
    }
}

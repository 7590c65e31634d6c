//! A cluster file as it is written, and the checks that make a [`ClusterConfig`] of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::address::{Address, AddressError};
use crate::memory::parse_bytes;
use crate::shards::layout::SHARDS_MAX;

use super::mistakes::{Mistake, Problem};
use super::{CLUSTER_NAME_BYTES_MAX, ClusterConfig, Engine, NODES_MAX, NodeConfig, SNAPSHOT_ENTRIES_MIN};
use crate::tls::TlsFiles;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCluster {
    cluster: Spanned<String>,
    data: PathBuf,
    snapshot_entries: Option<Spanned<u64>>,
    maxmemory: Option<Spanned<RawBytes>>,
    #[serde(default)]
    engine: Engine,
    shards: Option<Spanned<u16>>,
    #[serde(default)]
    redirect: bool,
    requirepass: Option<Spanned<String>>,
    tls: Option<TlsFiles>,
    #[serde(default)]
    node: Vec<Spanned<RawNode>>,
}

/// A number of bytes, or a text such as `"2gb"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawBytes {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    id: Spanned<u64>,
    peer: Spanned<String>,
    client: Spanned<String>,
    http: Spanned<String>,
    bind: Option<IpAddr>,
    join: Option<Spanned<bool>>,
}

/// The checks of a file, and the mistakes that they have found.
pub(super) struct Check<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
    taken: Vec<Address>,
}

impl<'a> Check<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, mistakes: Vec::new(), taken: Vec::new() }
    }

    /// Checks a file. A relative `data` is taken from `folder`.
    pub(super) fn check(mut self, raw: RawCluster, folder: &Path) -> Result<ClusterConfig, Vec<Mistake>> {
        let RawCluster { cluster, data, snapshot_entries, maxmemory, engine, shards, redirect, .. } = raw;
        let (requirepass, tls, raw_nodes) = (raw.requirepass, raw.tls, raw.node);
        if !(1..=CLUSTER_NAME_BYTES_MAX).contains(&cluster.get_ref().len()) {
            self.note("cluster", cluster.span(), Problem::Name);
        }
        let snapshots = snapshot_entries.as_ref().map_or(SNAPSHOT_ENTRIES, |entries| *entries.get_ref());
        if let Some(entries) = snapshot_entries.filter(|entries| *entries.get_ref() < SNAPSHOT_ENTRIES_MIN) {
            self.note("snapshot_entries", entries.span(), Problem::SnapshotEntries);
        }
        let memory_max = maxmemory.map_or(0, |bytes| self.bytes("maxmemory", bytes));
        let shard_count = shards.as_ref().map_or(1, |shards| *shards.get_ref());
        if let Some(shards) = shards.filter(|shards| !(1..=SHARDS_MAX).contains(shards.get_ref())) {
            self.note("shards", shards.span(), Problem::Shards(shard_count));
        }
        if !(1..=NODES_MAX).contains(&raw_nodes.len()) {
            self.note("node", None, Problem::NodeCount(raw_nodes.len()));
        }
        if let Some(password) = requirepass.as_ref().filter(|password| password.get_ref().is_empty()) {
            self.note("requirepass", password.span(), Problem::EmptyPassword);
        }
        let nodes = self.nodes(raw_nodes, shard_count);
        if !self.mistakes.is_empty() {
            return Err(self.mistakes);
        }
        Ok(ClusterConfig {
            name: cluster.into_inner(),
            data: folder.join(data),
            snapshot_entries: snapshots,
            memory_max,
            engine,
            shards: shard_count,
            redirect,
            requirepass: requirepass.map(Spanned::into_inner),
            tls: tls.map(|files| files.within(folder)),
            nodes,
        })
    }

    fn bytes(&mut self, key: &'static str, raw: Spanned<RawBytes>) -> u64 {
        let at = raw.span();
        let bytes = match raw.into_inner() {
            RawBytes::Number(bytes) => Some(bytes),
            RawBytes::Text(text) => parse_bytes(&text),
        };
        if bytes.is_none() {
            self.note(key, at, Problem::Bytes);
        }
        bytes.unwrap_or(0)
    }

    fn nodes(&mut self, raw: Vec<Spanned<RawNode>>, shards: u16) -> BTreeMap<u64, NodeConfig> {
        let mut nodes = BTreeMap::new();
        let (mut founders, count) = (0, raw.len());
        for raw in raw.into_iter().map(Spanned::into_inner) {
            let (id, at) = (*raw.id.get_ref(), raw.id.span());
            if id == 0 {
                self.note("id", at, Problem::ZeroId);
            } else if nodes.contains_key(&id) {
                self.note("id", at, Problem::DuplicateId(id));
            }
            let join = raw.join.as_ref().is_some_and(|join| *join.get_ref());
            founders += usize::from(!join);
            if let Some(join) = raw.join.filter(|join| *join.get_ref() && shards > 1) {
                self.note("join", join.span(), Problem::JoinsShards(id));
            }
            let addresses = [
                self.address(id, "peer", raw.peer),
                self.address(id, "client", raw.client),
                self.address(id, "http", raw.http),
            ];
            if let [Some(peer), Some(client), Some(http)] = addresses {
                nodes.insert(id, NodeConfig { peer, client, http, bind: raw.bind, join });
            }
        }
        if count > 0 && founders == 0 {
            self.note("join", None, Problem::NoFounder);
        }
        nodes
    }

    /// An address that no other listener has.
    fn address(&mut self, node: u64, key: &'static str, text: Spanned<String>) -> Option<Address> {
        let (at, text) = (text.span(), text.into_inner());
        let parsed: Result<Address, AddressError> = text.parse();
        match parsed {
            Ok(address) if self.taken.contains(&address) => {
                self.note(key, at, Problem::DuplicateAddress { node, address: address.to_string() });
                None
            }
            Ok(address) => {
                self.taken.push(address.clone());
                Some(address)
            }
            Err(error) => {
                self.note(key, at, Problem::Address { node, text, error });
                None
            }
        }
    }

    fn note(&mut self, key: &'static str, at: impl Into<Option<Range<usize>>>, problem: Problem) {
        let line = at.into().map(|at| self.text[..at.start].matches('\n').count() + 1);
        self.mistakes.push(Mistake { line, key, problem });
    }
}

/// Entries after which a snapshot is made, unless the file says otherwise.
const SNAPSHOT_ENTRIES: u64 = 1_000_000;

//! Meaning of server names in the programs that this crate agrees with.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::format;
use alloc::string::String;

use crate::error::BuildError;
use crate::node::Nodes;

/// Refuses two names of one server, for which `meaning` returns the same text.
pub(super) fn require_distinct(nodes: &Nodes, meaning: impl Fn(&str) -> String) -> Result<(), BuildError> {
    let mut named = BTreeMap::new();
    for (_, node) in nodes.iter() {
        match named.entry(meaning(node.name())) {
            Entry::Vacant(place) => _ = place.insert(node.name()),
            Entry::Occupied(other) => return Err(BuildError::SameServer((*other.get()).into(), node.name().into())),
        }
    }
    Ok(())
}

/// The text that libmemcached hashes for a server: the host alone for port 11211, which may be left out, else
/// `host:port`. An IPv6 address is written without brackets. A Unix socket has port 0.
pub(super) fn memcached(name: &str) -> Cow<'_, str> {
    if name.starts_with('/') {
        return if name.ends_with(":0") { name.into() } else { format!("{name}:0").into() };
    }
    let (host, port) = match name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => return host.into(),
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        // After the last of several colons without brackets there is a port, or the end of an address whose port is
        // left out. The hashed text is the same in both cases, except for the default port, which is never hashed.
        None => match name.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || port == "11211" => (host, Some(port)),
            _ => return name.into(),
        },
    };
    match port.and_then(number) {
        Some(MEMCACHED_PORT | 0) => host.into(),
        Some(port) => format!("{host}:{port}").into(),
        None => name.into(),
    }
}

/// The text that libmemcached hashes for a server when keys were placed by spymemcached: `/host:port`, always with the
/// port.
pub(super) fn spymemcached(name: &str) -> String {
    if name.starts_with('/') {
        return format!("/{}", memcached(name));
    }
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => name.rsplit_once(':').map_or((name, None), |(host, port)| (host, Some(port))),
    };
    match port.map(number) {
        None => format!("/{host}:{MEMCACHED_PORT}"),
        Some(Some(port)) => format!("/{host}:{port}"),
        Some(None) => format!("/{name}:{MEMCACHED_PORT}"),
    }
}

/// The text that twemproxy hashes for a server: the name that its configuration gives, or else the host if the port is
/// memcached's, or else `host:port`.
pub(super) fn twemproxy<'a>(address: &'a str, given: Option<&'a str>) -> Cow<'a, str> {
    match given {
        Some(name) => name.into(),
        // For a socket twemproxy writes its path, a colon, and no port.
        None if address.starts_with('/') => format!("{address}:").into(),
        None => address.strip_suffix(":11211").unwrap_or(address).into(),
    }
}

/// A name without the port at its end.
pub(super) fn without_port(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((host, port)) if number(port).is_some() => host,
        _ => name,
    }
}

/// Meaning of a libmemcached server name: host names ignore upper and lower case.
pub(super) fn memcached_meaning(name: &str) -> String {
    let hashed = memcached(name);
    if hashed.starts_with('/') { hashed.into_owned() } else { hashed.to_ascii_lowercase() }
}

/// Host and port as nginx hashes them. The port is the text after the last colon, if it consists of digits.
pub(super) fn nginx(server: &str) -> (&str, &str) {
    if let Some(path) = unix_path(server) {
        return (path, "");
    }
    match server.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (server, ""),
    }
}

/// Meaning of an nginx server name: port 80 may be left out, and host names ignore upper and lower case.
pub(super) fn nginx_meaning(server: &str) -> String {
    if let Some(path) = unix_path(server) {
        return format!("unix:{path}");
    }
    let (host, port) = nginx(server);
    let port = if port.is_empty() { Some(80) } else { number(port) };
    match port {
        Some(port) => format!("{}:{port}", host.to_ascii_lowercase()),
        None => server.to_ascii_lowercase(),
    }
}

fn unix_path(server: &str) -> Option<&str> {
    server.get(..5).filter(|prefix| prefix.eq_ignore_ascii_case("unix:")).map(|_| &server[5..])
}

fn number(port: &str) -> Option<u16> {
    if port.bytes().all(|byte| byte.is_ascii_digit()) { port.parse().ok() } else { None }
}

const MEMCACHED_PORT: u16 = 11211;

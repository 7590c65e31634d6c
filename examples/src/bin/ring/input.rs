//! Reading files of nodes and keys.

use std::path::Path;
use std::{fs, str};

use quorate_consistent_hash::{Node, Nodes, Weight};

use crate::error::Failure;

/// The nodes of a file: `name [weight [zone [rack]]]` a line, empty lines left out.
pub(crate) fn nodes(path: &Path) -> Result<Nodes, Failure> {
    let bytes = read(path)?;
    let mut nodes = Vec::new();
    for (number, line) in lines(&bytes) {
        let fail = |reason: String| Failure::Line { path: path.into(), line: number, reason };
        let line = str::from_utf8(line).map_err(|error| fail(error.to_string()))?;
        if let Some(node) = node(line).map_err(fail)? {
            nodes.push(node);
        }
    }
    Ok(Nodes::new(nodes)?)
}

fn node(line: &str) -> Result<Option<Node>, String> {
    let mut fields = line.split_whitespace();
    let Some(name) = fields.next() else {
        return Ok(None);
    };
    let mut node = Node::new(name);
    if let Some(weight) = fields.next() {
        let number: f64 = weight.parse().map_err(|_| format!("{weight:?} is not a weight"))?;
        node = node.with_weight(Weight::new(number).map_err(|error| format!("{weight:?}: {error}"))?);
    }
    if let Some(zone) = fields.next() {
        node = node.with_zone(zone);
    }
    if let Some(rack) = fields.next() {
        node = node.with_rack(rack);
    }
    match fields.next() {
        Some(more) => Err(format!("{more:?} is one field too many")),
        None => Ok(Some(node)),
    }
}

/// The lines of a file with their numbers, as bytes. A line ends with LF or CRLF, and the last one may end with the
/// file. A byte order mark at the start is not part of the first line.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let none = bytes.is_empty();
    let lines = whole.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    (1..).zip(lines).filter(move |_| !none)
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|source| Failure::Read { path: path.into(), source })
}

//! HAProxy: a `backend` or `listen` with `hash-type consistent`.

use quorate_consistent_hash::Weight;
use quorate_consistent_hash::compat::{HaproxyHash, RingSystem, Server};

use super::file::{File, SystemRing, whole_weight};
use crate::algorithm::haproxy_hash;
use crate::error::Failure;

#[derive(Clone, Default)]
struct Section {
    /// The hash, if `hash-type` is consistent. `None` otherwise.
    hash: Option<HaproxyHash>,
    servers: Vec<Server>,
    /// The weight in `default-server`.
    weight: Option<Written>,
}

/// A weight as it was written. `None` stands for a weight of zero.
#[derive(Clone, Copy)]
struct Written(Option<Weight>);

pub(super) fn read(file: &File<'_>) -> Result<SystemRing, Failure> {
    let mut defaults = Section::default();
    let mut sections: Vec<(String, Section)> = Vec::new();
    let mut in_defaults = false;
    // `global`, `frontend` and others have no servers.
    let mut skipped = true;
    for (line, text) in file.lines()? {
        let words: Vec<&str> = text.split('#').next().unwrap_or_default().split_whitespace().collect();
        let Some((first, arguments)) = words.split_first() else { continue };
        match *first {
            "backend" | "listen" => {
                let name = arguments.first().ok_or_else(|| file.fail(line, "the section has no name"))?;
                sections.push(((*name).to_owned(), defaults.clone()));
                (in_defaults, skipped) = (false, false);
                continue;
            }
            "defaults" => {
                defaults = Section::default();
                (in_defaults, skipped) = (true, false);
                continue;
            }
            "global" | "frontend" | "peers" | "resolvers" | "userlist" | "cache" | "program" | "ring" | "mailers" => {
                skipped = true;
                continue;
            }
            _ if skipped => continue,
            _ => {}
        }
        let section = match sections.last_mut() {
            Some((_, section)) if !in_defaults => section,
            _ => &mut defaults,
        };
        let fail = |reason: String| file.fail(line, reason);
        match (*first, arguments) {
            ("hash-type", ["consistent", hash @ ..]) => {
                section.hash = Some(haproxy_hash(Some(&hash.join(" "))).map_err(|failure| fail(failure.to_string()))?);
            }
            ("hash-type", _) => section.hash = None,
            ("default-server", settings) => {
                if let Some(weight) = setting(settings, "weight") {
                    section.weight = Some(Written(weight_of(weight).map_err(fail)?));
                }
            }
            ("server", _) if in_defaults => return Err(fail("HAProxy takes no server in `defaults`".into())),
            ("server", [name, _, settings @ ..]) => {
                section.servers.push(server(name, settings, section.weight).map_err(fail)?);
            }
            ("server", _) => return Err(fail("a server has no address".into())),
            ("server-template", _) => return Err(fail("server-template is not read: list the servers".into())),
            _ => {}
        }
    }
    sections.retain(|(_, section)| !section.servers.is_empty());
    let section = file.only("backend with servers", sections)?;
    match section.hash {
        Some(hash) => Ok((RingSystem::Haproxy(hash), section.servers)),
        None => Err(file.refuse("the backend has no `hash-type consistent`, which alone places on a ring")),
    }
}

/// A server, with the weight of `default-server` unless it has one of its own.
fn server(name: &str, settings: &[&str], default: Option<Written>) -> Result<Server, String> {
    let mut server = Server::new(name);
    if let Some(Written(weight)) = default {
        server.weight = weight;
    }
    if let Some(weight) = setting(settings, "weight") {
        server.weight = weight_of(weight)?;
    }
    if settings.contains(&"disabled") {
        server.weight = None;
    }
    if let Some(id) = setting(settings, "id") {
        server.id = Some(id.parse().map_err(|_| format!("{id:?} is not an id"))?);
    }
    Ok(server)
}

/// A weight. `None` stands for a weight of zero.
fn weight_of(text: &str) -> Result<Option<Weight>, String> {
    let weight = whole_weight(text)?;
    match weight {
        Some(heavy) if heavy.as_f64() > 256.0 => Err(format!("HAProxy takes no weight above 256, as {text}")),
        weight => Ok(weight),
    }
}

/// The word behind another.
fn setting<'a>(settings: &[&'a str], name: &str) -> Option<&'a str> {
    settings.iter().position(|word| *word == name).and_then(|at| settings.get(at + 1)).copied()
}

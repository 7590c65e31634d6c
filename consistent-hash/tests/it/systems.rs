//! Placement against tables of many cases that other programs made. `tests/golden/systems/common.py` describes their
//! format.

use std::collections::BTreeMap;
use std::fmt::Write;

use quorate_consistent_hash::compat::{
    CRUSH_NONE, CephPool, CompatRing, CrushBucket, CrushError, CrushMap, CrushStep, EnvoyHash, EnvoyMaglev, EnvoyRing,
    HaproxyFunction, HaproxyHash, LibmemcachedRing, MemcachedHash, Partitions, RingSystem, Server, TwemproxyRing,
    ceph_input, ceph_placement_group, swift_partition,
};
use quorate_consistent_hash::{BuildError, KeyHash, Node, Nodes, Placement, Weight};

use crate::numbers::numbered;

/// A case of a table.
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) settings: Vec<&'a str>,
    pub(crate) servers: Vec<Server>,
    /// Host and rack of each server, if it has any.
    tiers: Vec<(i32, Option<i32>)>,
    pub(crate) places: Vec<Place<'a>>,
    digest: &'a str,
    sample: Vec<usize>,
}

/// Where a server is, as far as its line says.
#[derive(Default)]
pub(crate) struct Place<'a> {
    pub(crate) region: u32,
    pub(crate) zone: &'a str,
    pub(crate) ip: &'a str,
}

pub(crate) fn cases(table: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["case", name, ref settings @ ..] => {
                cases.push(Case {
                    name,
                    settings: settings.to_vec(),
                    servers: vec![],
                    tiers: vec![],
                    places: vec![],
                    digest: "",
                    sample: vec![],
                });
            }
            ["server", name, weight, ref more @ ..] => {
                let weight: f64 = weight.parse().unwrap();
                let weight = (weight > 0.0).then(|| Weight::new(weight).unwrap());
                let mut server = Server { weight, ..Server::new(name) };
                let (mut tiers, mut place) = ((0, None), Place::default());
                for field in more {
                    match field.split_once('=').unwrap() {
                        ("id", id) => server.id = Some(id.parse().unwrap()),
                        ("hashed", text) => server.hashed = Some(text.into()),
                        ("host", host) => tiers.0 = host.parse().unwrap(),
                        ("zone", name) => place.zone = name,
                        ("region", region) => place.region = region.parse().unwrap(),
                        ("ip", ip) => place.ip = ip,
                        ("rack", rack) => tiers.1 = Some(rack.parse().unwrap()),
                        (other, _) => panic!("{other}"),
                    }
                }
                cases.last_mut().unwrap().servers.push(server);
                cases.last_mut().unwrap().places.push(place);
                cases.last_mut().unwrap().tiers.push(tiers);
            }
            ["owners", digest, ref sample @ ..] => {
                let case = cases.last_mut().unwrap();
                case.digest = digest;
                case.sample = sample.iter().map(|place| place.parse().unwrap()).collect();
            }
            _ => panic!("{line}"),
        }
    }
    assert!(cases.len() >= 20, "the table is whole");
    cases
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Ascii,
    Binary,
}

pub(crate) fn keys(kind: Kind) -> Vec<Vec<u8>> {
    let random = |seed: u64, count: usize| -> Vec<u8> {
        let word = |index: u64| {
            let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        (0..).map(word).flat_map(u64::to_le_bytes).take(count).collect()
    };
    let key = |i: usize| match i {
        0..600 => format!("user:{i}").into_bytes(),
        600..900 => (7919 * i).to_string().into_bytes(),
        900..1100 if matches!(kind, Kind::Ascii) => format!("/pictures/{i}/large.jpg").into_bytes(),
        900..1100 => format!("/картинки/{i}/大.jpg").into_bytes(),
        1100..1300 => format!("{{tag{}}}:{i}", i % 7).into_bytes(),
        1300..1500 => vec![b'x'; i - 1299],
        _ => match kind {
            Kind::Binary => random(i as u64, (i - 1500) % 40),
            Kind::Text | Kind::Ascii => {
                random(i as u64, 1 + (i - 1500) % 40).iter().map(|byte| 33 + byte % 94).collect()
            }
        },
    };
    (0..2000).map(key).collect()
}

impl Case<'_> {
    /// Compares the positions of all owners with the program's output.
    pub(crate) fn check(&self, owners: &[usize]) {
        let sample: Vec<_> = owners.iter().step_by(125).copied().collect();
        assert_eq!(sample, self.sample, "case {}", self.name);
        let text = owners.iter().fold(String::new(), |mut text, owner| {
            writeln!(text, "{owner}").unwrap();
            text
        });
        let digest = text
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
        assert_eq!(format!("{digest:016x}"), self.digest, "case {}", self.name);
    }

    pub(crate) fn place(&self, name: &str) -> usize {
        self.servers.iter().position(|server| &*server.name == name).unwrap()
    }
}

fn check_rings(table: &str, kind: Kind, system: impl Fn(&[&str]) -> RingSystem) {
    check_rings_on(table, &keys(kind), system);
}

fn check_rings_on(table: &str, keys: &[Vec<u8>], system: impl Fn(&[&str]) -> RingSystem) {
    for case in cases(table) {
        let ring = CompatRing::of_servers(system(&case.settings), &case.servers).unwrap();
        check_owners(&case, &ring, &ring.keyless().collect::<Vec<_>>(), keys);
    }
}

pub(crate) fn check_owners(case: &Case<'_>, placement: &impl Placement, keyless: &[&str], keys: &[Vec<u8>]) {
    let owners: Vec<_> = keys.iter().map(|key| case.place(placement.owner(key).name())).collect();
    case.check(&owners);
    // Servers listed as keyless own nothing, and all others are nodes.
    for server in &case.servers {
        let is_node = placement.nodes().index_of(&server.name).is_some();
        assert_ne!(is_node, keyless.contains(&&*server.name), "{}", case.name);
    }
}

pub(crate) fn memcached_hash(name: &str) -> MemcachedHash {
    MemcachedHash::named(name).unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn haproxy() {
    check_rings(include_str!("../golden/systems/haproxy.tsv"), Kind::Text, |settings| {
        let function = match settings[0] {
            "sdbm" => HaproxyFunction::Sdbm,
            "djb2" => HaproxyFunction::Djb2,
            "wt6" => HaproxyFunction::Wt6,
            "crc32" => HaproxyFunction::Crc32,
            other => panic!("{other}"),
        };
        RingSystem::Haproxy(HaproxyHash { function, avalanche: settings.len() > 1 })
    });
}

#[test]
fn varnish() {
    check_rings(include_str!("../golden/systems/varnish.tsv"), Kind::Text, |_| RingSystem::Varnish);
}

#[test]
fn twemproxy() {
    check_rings(include_str!("../golden/systems/twemproxy.tsv"), Kind::Binary, |settings| {
        let hash_tag = settings[1].as_bytes().try_into().ok();
        RingSystem::Twemproxy(TwemproxyRing { hash: memcached_hash(settings[0]), hash_tag })
    });
}

#[test]
fn libmemcached() {
    // It refuses an empty key; the table has a zero there.
    let keys: Vec<_> = keys(Kind::Binary).into_iter().map(|key| if key.is_empty() { vec![0] } else { key }).collect();
    check_rings_on(include_str!("../golden/systems/libmemcached.tsv"), &keys, |settings| {
        let [mode, hash] = settings[..] else { panic!("{settings:?}") };
        let weighted = mode == "weighted";
        let default = if weighted { MemcachedHash::Md5 } else { MemcachedHash::OneAtATime };
        let hash = if hash.is_empty() { default } else { memcached_hash(hash) };
        RingSystem::Libmemcached(LibmemcachedRing { weighted, spy: mode == "spy", hash })
    });
}

#[test]
fn libketama() {
    check_rings(include_str!("../golden/systems/libketama.tsv"), Kind::Binary, |_| RingSystem::Libketama);
}

#[test]
fn envoy_rings() {
    check_rings(include_str!("../golden/systems/envoy-rings.tsv"), Kind::Text, |settings| {
        let [minimum, maximum, function] = settings[..] else { panic!("{settings:?}") };
        RingSystem::Envoy(EnvoyRing {
            minimum_ring_size: minimum.parse().unwrap(),
            maximum_ring_size: maximum.parse().unwrap(),
            hash_function: if function == "XX_HASH" { EnvoyHash::XxHash } else { EnvoyHash::MurmurHash2 },
        })
    });
}

#[test]
fn envoy_maglev() {
    let keys = keys(Kind::Text);
    for case in cases(include_str!("../golden/systems/envoy-maglev.tsv")) {
        let table = EnvoyMaglev::of_servers(&case.servers, case.settings[0].parse().unwrap()).unwrap();
        check_owners(&case, &table, &table.keyless().collect::<Vec<_>>(), &keys);
    }
}

#[test]
fn envoy_maglev_takes_remainders() {
    for size in [2, 3, 65537, 5_000_011] {
        let table = EnvoyMaglev::with_table_size(Nodes::named(["a", "b"]).unwrap(), size).unwrap();
        let entries: Vec<_> = table.table().collect();
        let size = u64::from(size);
        let multiples = (1..64).map(|i| u64::MAX / i / size * size);
        let near =
            multiples.flat_map(|number| [number - 1, number, number.wrapping_add(1), number.wrapping_add(size - 1)]);
        for hash in near.chain([0, 1, size - 1, size, 2 * size - 1, u64::MAX - 1, u64::MAX]) {
            assert_eq!(table.owner_of(KeyHash(hash)), entries[usize::try_from(hash % size).unwrap()], "{hash} {size}");
        }
    }
}

#[test]
fn traffic_server() {
    let quoted = |key: Vec<u8>| {
        // Of several slashes at the start one is left.
        key.iter().skip_while(|byte| **byte == b'/').fold(String::from("/"), |mut path, &byte| {
            match byte {
                b'/' | b':' | b'.' | b'_' | b'-' | b'~' => path.push(byte.into()),
                _ if byte.is_ascii_alphanumeric() => path.push(byte.into()),
                _ => write!(path, "%{byte:02X}").unwrap(),
            }
            path
        })
    };
    let query = |i: usize| if i.is_multiple_of(3) { format!("?q={i}") } else { String::new() };
    let paths: Vec<_> = keys(Kind::Text).into_iter().map(quoted).collect();
    let urls: Vec<_> = paths.iter().enumerate().map(|(i, path)| (path.clone() + &query(i)).into_bytes()).collect();
    let paths: Vec<_> = paths.into_iter().map(String::into_bytes).collect();
    for case in cases(include_str!("../golden/systems/trafficserver.tsv")) {
        let ring = CompatRing::of_servers(RingSystem::TrafficServer, &case.servers).unwrap();
        let keys = if case.settings[0] == "query" { &urls } else { &paths };
        check_owners(&case, &ring, &ring.keyless().collect::<Vec<_>>(), keys);
    }
}

#[test]
fn grpc() {
    check_rings(include_str!("../golden/systems/grpc.tsv"), Kind::Ascii, |settings| {
        let [minimum_ring_size, maximum_ring_size] =
            [(settings[0], 1024), (settings[1], 4096)].map(|(size, default)| size.parse().unwrap_or(default));
        RingSystem::Grpc { minimum_ring_size, maximum_ring_size }
    });
}

#[test]
fn open_telemetry() {
    let table = include_str!("../golden/systems/opentelemetry.tsv");
    check_rings(table, Kind::Binary, |_| RingSystem::OpenTelemetry);
}

#[test]
fn nginx() {
    check_rings(include_str!("../golden/systems/nginx.tsv"), Kind::Text, |_| RingSystem::Nginx);
}

#[test]
fn groupcache() {
    check_rings(include_str!("../golden/systems/groupcache.tsv"), Kind::Binary, |settings| RingSystem::Groupcache {
        replicas: settings[0].parse().unwrap(),
    });
}

#[test]
fn uhashring() {
    check_rings(include_str!("../golden/systems/uhashring.tsv"), Kind::Text, |_| RingSystem::Uhashring);
}

#[test]
fn npm_hashring() {
    check_rings(include_str!("../golden/systems/npm-hashring.tsv"), Kind::Text, |settings| RingSystem::NpmHashring {
        vnodes: settings[0].parse().ok(),
        hash_ring: settings[1] == "hash_ring",
    });
}

#[test]
fn npm_consistent_hashing() {
    check_rings(include_str!("../golden/systems/npm-consistent-hashing.tsv"), Kind::Text, |settings| {
        RingSystem::NpmConsistentHashing { replicas: settings[0].parse().unwrap() }
    });
}

/// Vectors from programs with too few cases for a table: groupcache, Prometheus, Traffic Server, Swift, and modulo.
#[test]
fn single_vectors() {
    let peers = Nodes::named((1..4).map(|i| format!("http://10.0.0.{i}:8080"))).unwrap();
    let groupcache = CompatRing::new(RingSystem::Groupcache { replicas: 50 }, peers).unwrap();
    let owners: Vec<_> =
        (0..5).map(|i| groupcache.owner(format!("user:{i}").as_bytes()).name().as_bytes()[14]).collect();
    assert_eq!(owners, *b"12112");
    let prometheus = Partitions::prometheus(numbered("1000")).unwrap();
    let shards: Vec<_> =
        (0..5).map(|i| prometheus.owner_of(prometheus.hash(format!("user:{i}").as_bytes())).get()).collect();
    assert_eq!(shards, [617, 426, 613, 723, 428]);
    let parents = [("n0:8080", 0.5), ("n1:8080", 1.0), ("n2:8080", 2.25)];
    let parents = parents.map(|(name, weight)| Node::new(name).with_weight(Weight::new(weight).unwrap()));
    let parents = CompatRing::new(RingSystem::TrafficServer, Nodes::new(parents).unwrap()).unwrap();
    let owners: Vec<_> = (0..6).map(|i| parents.owner(format!("/k{i}").as_bytes()).name().as_bytes()[1]).collect();
    assert_eq!(owners, *b"201202");
    let paths = ["/AUTH_test", "/AUTH_test/photos", "/AUTH_test/photos/a.jpg", "/AUTH_test/photos/dir/b.jpg", "/a/c/o"];
    assert_eq!(paths.map(|path| swift_partition(b"pre", path.as_bytes(), b"suf", 8)), [113, 174, 77, 41, 60]);
    let servers = ["10.0.0.1:11211", "10.0.0.2:11212", "cache3.example:11211"].map(Server::new);
    let modula = Partitions::libmemcached(&servers, MemcachedHash::OneAtATime).unwrap();
    let keys = ["user:0", "user:1", "user:2", "7919", "k1", "k2", "{a}b", &"x".repeat(200)];
    assert_eq!(keys.map(|key| modula.owner_of(modula.hash(key.as_bytes())).get()), [2, 2, 2, 0, 1, 2, 2, 1]);
}

#[test]
fn servers_without_keys_are_named() {
    let weighted = |name: &str, weight: f64| Server { weight: Weight::new(weight).ok(), ..Server::new(name) };
    let ring = CompatRing::of_servers(
        RingSystem::Haproxy(HaproxyHash::default()),
        &[weighted("a", 1.0), weighted("b", 0.0), weighted("c", 2.0)],
    );
    assert_eq!(ring.unwrap().keyless().collect::<Vec<_>>(), ["b"]);
    // Ids that agree in twenty bits have all points in common.
    let alike = [1, 1 + (1 << 20)].map(|id| Server { id: Some(id), ..Server::new(format!("id-{id}")) });
    let refused = CompatRing::of_servers(RingSystem::Haproxy(HaproxyHash::default()), &alike).map(|_| ());
    assert_eq!(refused, Err(BuildError::SameServer("id-1".into(), "id-1048577".into())));
    let none = CompatRing::of_servers(RingSystem::Nginx, &[weighted("a", 0.0)]);
    assert_eq!(none.map(|_| ()), Err(BuildError::NoNodes));
    // One server under two names: the second name has the same tokens as the first.
    let both = [Server::new("cache"), Server::new("cache:11211"), Server::new("other")];
    let ring = CompatRing::of_servers(RingSystem::Libmemcached(LibmemcachedRing::default()), &both).unwrap();
    assert_eq!(ring.keyless().collect::<Vec<_>>(), ["cache:11211"]);
}

/// The map of a case: devices in hosts, hosts in racks if there are any, and all of them under one root.
fn crush_map(case: &Case<'_>) -> CrushMap {
    let mut hosts: BTreeMap<i32, Vec<(i32, u32)>> = BTreeMap::new();
    let mut racks: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (device, (server, (host, rack))) in (0..).zip(case.servers.iter().zip(&case.tiers)) {
        let weight = server.weight.map_or(0, |weight| u32::try_from(weight.units()).unwrap());
        hosts.entry(*host).or_default().push((device, weight));
        if let Some(rack) = rack {
            let members = racks.entry(*rack).or_default();
            if !members.contains(host) {
                members.push(*host);
            }
        }
    }
    let sum = |items: &[(i32, u32)]| items.iter().map(|(_, weight)| weight).sum::<u32>();
    let host = |host: &i32| (-2 - host, sum(&hosts[host]));
    let bucket = |kind, items: &[(i32, u32)]| CrushBucket { kind, items: items.to_vec() };
    let mut buckets: Vec<_> = hosts.iter().map(|(id, items)| (-2 - id, bucket(1, items))).collect();
    let mut top: Vec<_> = hosts.keys().map(host).collect();
    if !racks.is_empty() {
        top.clear();
        for (rack, members) in &racks {
            let items: Vec<_> = members.iter().map(host).collect();
            top.push((-1000 - rack, sum(&items)));
            buckets.push((-1000 - rack, bucket(3, &items)));
        }
    }
    buckets.push((-1, bucket(10, &top)));
    CrushMap::new(buckets).unwrap()
}

#[test]
fn crush() {
    for case in cases(include_str!("../golden/systems/crush.tsv")) {
        let map = crush_map(&case);
        let [kind, replicas, reweights @ ..] = &case.settings[..] else { panic!("{:?}", case.settings) };
        let reweights: BTreeMap<i32, u32> = reweights
            .iter()
            .map(|text| {
                let (device, weight) = text.split_once('=').unwrap();
                // Ceph truncates a weight to a whole step; this crate rounds it.
                let steps = weight.parse::<f64>().unwrap() * 65536.0;
                (device.parse().unwrap(), (0..=65536_u32).rev().find(|&step| f64::from(step) <= steps).unwrap())
            })
            .collect();
        let (kind, is_indep) = kind.strip_suffix(" indep").map_or((*kind, false), |kind| (kind, true));
        let kind = ["osd", "host", "", "rack"].iter().position(|name| *name == kind).unwrap();
        let (kind, leaf) = (u16::try_from(kind).unwrap(), kind > 0);
        let mut rule = vec![CrushStep::Take(-1), CrushStep::ChooseFirstn { count: 0, kind, leaf }, CrushStep::Emit];
        if is_indep {
            rule[1] = CrushStep::ChooseIndep { count: 0, kind, leaf };
            rule.splice(0..0, [CrushStep::SetChooseleafTries(5), CrushStep::SetChooseTries(100)]);
        }
        let place = |x| {
            let devices = map.place(&rule, x, replicas.parse().unwrap(), |device| {
                reweights.get(&device).copied().unwrap_or(1 << 16)
            });
            let digit = |device: &i32| if *device == CRUSH_NONE { 999 } else { usize::try_from(*device).unwrap() + 1 };
            let digits = devices.iter().rev().map(digit);
            digits.fold(0, |number, digit| number * 1000 + digit)
        };
        case.check(&(0..2000).map(place).collect::<Vec<_>>());
    }
}

#[test]
fn a_pool_of_ceph_places_objects_by_their_groups() {
    let one = 1 << 16;
    let host = |device| CrushBucket { kind: 1, items: vec![(device, one)] };
    let root = CrushBucket { kind: 10, items: (0..4).map(|device| (-2 - device, one)).collect() };
    let hosts = (0..4).map(|device| (-2 - device, host(device)));
    let map = CrushMap::new(hosts.chain([(-1, root)])).unwrap();
    let rule = [CrushStep::Take(-1), CrushStep::ChooseFirstn { count: 0, kind: 1, leaf: true }, CrushStep::Emit];
    let pool = CephPool::new(&map, &rule, 7, 96, 3, |_| one).unwrap();
    for key in ["user:0", "user:1", "7919", "k1"].map(str::as_bytes) {
        let group = ceph_placement_group(key, 96);
        let devices = map.place(&rule, ceph_input(group, 96, 7), 3, |_| one);
        let names: Vec<_> = devices.iter().map(|device| format!("osd.{device}")).collect();
        assert_eq!(pool.replicas(key, 3).unwrap().map(Node::name).collect::<Vec<_>>(), names);
        // The fourth device is not of the group, and comes last.
        assert_eq!(pool.replicas(key, 4).unwrap().count(), 4);
        assert_eq!(pool.devices(group).len(), 3);
    }
    let refused = |pg_num, size, weight| CephPool::new(&map, &rule, 7, pg_num, size, |_| weight).map(|_| ());
    assert_eq!(refused(0, 3, one), Err(CrushError::BadPool));
    assert_eq!(refused(8, 0, one), Err(CrushError::BadPool));
    assert_eq!(refused(8, 3, 0), Err(CrushError::Unplaced(0)));
}

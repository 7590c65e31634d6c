//! Lists of servers that no configuration should have, for every system: each is refused by a typed error, or served.

use quorate_consistent_hash::compat::{
    CompatRing, EnvoyMaglev, EnvoyRing, HaproxyHash, LibmemcachedRing, MemcachedHash, Partitions, RingSystem, Server,
    TwemproxyRing,
};
use quorate_consistent_hash::{BuildError, Placement, Weight};

fn systems() -> [RingSystem; 17] {
    let unweighted =
        LibmemcachedRing { weighted: false, hash: MemcachedHash::OneAtATime, ..LibmemcachedRing::default() };
    [
        RingSystem::Libmemcached(LibmemcachedRing::default()),
        RingSystem::Libmemcached(unweighted),
        RingSystem::Libmemcached(LibmemcachedRing { spy: true, ..unweighted }),
        RingSystem::Libketama,
        RingSystem::Nginx,
        RingSystem::Envoy(EnvoyRing::default()),
        RingSystem::Grpc { minimum_ring_size: 1024, maximum_ring_size: 4096 },
        RingSystem::Haproxy(HaproxyHash::default()),
        RingSystem::Varnish,
        RingSystem::Twemproxy(TwemproxyRing::default()),
        RingSystem::TrafficServer,
        RingSystem::Thanos,
        RingSystem::OpenTelemetry,
        RingSystem::Groupcache { replicas: 50 },
        RingSystem::Uhashring,
        RingSystem::NpmHashring { vnodes: None, hash_ring: false },
        RingSystem::NpmConsistentHashing { replicas: 160 },
    ]
}

fn weighted(name: &str, weight: f64) -> Server {
    Server { weight: Weight::new(weight).ok(), ..Server::new(name) }
}

/// Every key has an owner that is a node, and every node is reached.
fn check(system: RingSystem, ring: &CompatRing) {
    for key in [&b""[..], b"key", &[0xFF; 300], b"{}", b"\0"] {
        let owner = ring.owner(key).name();
        assert!(ring.nodes().index_of(owner).is_some(), "{system:?}");
        let replicas = ring.nodes().len().min(3);
        assert_eq!(ring.replicas(key, replicas).unwrap().next().unwrap().name(), owner, "{system:?}");
    }
}

#[test]
fn no_servers_or_none_with_a_name() {
    for system in systems() {
        assert_eq!(CompatRing::of_servers(system, &[]).map(|_| ()), Err(BuildError::NoNodes), "{system:?}");
        let nameless = CompatRing::of_servers(system, &[Server::new("")]);
        assert_eq!(nameless.map(|_| ()), Err(BuildError::EmptyName), "{system:?}");
    }
    assert_eq!(EnvoyMaglev::of_servers(&[], 7).map(|_| ()), Err(BuildError::NoNodes));
    assert_eq!(Partitions::twemproxy(&[], TwemproxyRing::default()).map(|_| ()), Err(BuildError::NoNodes));
    assert_eq!(Partitions::libmemcached(&[], MemcachedHash::Md5).map(|_| ()), Err(BuildError::NoNodes));
}

#[test]
fn a_weight_of_zero_leaves_a_server_out_or_does_not_count() {
    for system in systems() {
        let ring = CompatRing::of_servers(system, &[weighted("zero", 0.0), weighted("one", 1.0)]).unwrap();
        check(system, &ring);
        assert_eq!(ring.nodes().len() + ring.keyless().len(), 2, "{system:?}");
        match CompatRing::of_servers(system, &[weighted("zero", 0.0)]) {
            Ok(ring) => check(system, &ring),
            Err(error) => assert_eq!(error, BuildError::NoNodes, "{system:?}"),
        }
    }
}

#[test]
fn weights_of_32_bits_are_refused_before_memory_is_taken_or_served() {
    for system in systems() {
        let heavy = f64::from(u32::MAX);
        for servers in [vec![weighted("a", heavy)], vec![weighted("a", heavy), weighted("b", heavy)]] {
            match CompatRing::of_servers(system, &servers) {
                Ok(ring) => check(system, &ring),
                Err(error) => assert!(matches!(error, BuildError::TooManyTokens { .. }), "{system:?}: {error}"),
            }
        }
    }
    let heavy = [weighted("a", f64::from(u32::MAX)), weighted("b", 1.0)];
    let partitions = Partitions::twemproxy(&heavy, TwemproxyRing::default());
    assert!(matches!(partitions.map(|_| ()), Err(BuildError::TooManyTokens { .. })));
    // Envoy gives every host an entry in the first round, whatever the weights.
    assert_eq!(EnvoyMaglev::of_servers(&heavy, 65537).unwrap().keyless().len(), 0);
}

#[test]
fn strange_names_are_hashed_as_they_are() {
    let long = "x".repeat(1 << 20);
    for system in systems() {
        for names in
            [&["a\0b", "a"][..], &["\u{feff}", "[", "[]", "]:1", ":"], &["a:99999999999999999999", "a:-1"], &[&long]]
        {
            let servers: Vec<_> = names.iter().copied().map(Server::new).collect();
            // Thousands of hashes of a name of a megabyte take long.
            if names == [long.as_str()] && !matches!(system, RingSystem::Haproxy(_)) {
                continue;
            }
            check(system, &CompatRing::of_servers(system, &servers).unwrap());
        }
    }
}

#[test]
fn a_server_many_times() {
    for system in systems() {
        let servers = vec![Server::new("same"); 50];
        match CompatRing::of_servers(system, &servers) {
            Ok(ring) => {
                check(system, &ring);
                assert_eq!(ring.nodes().len(), 1, "{system:?}");
            }
            Err(error) => assert!(matches!(error, BuildError::SameServer(..)), "{system:?}: {error}"),
        }
    }
    assert_eq!(EnvoyMaglev::of_servers(&vec![Server::new("same"); 50], 7).unwrap().nodes().len(), 1);
}

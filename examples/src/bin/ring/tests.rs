use std::fs;
use std::io::Write;

use clap::{Parser, ValueEnum};

use super::{Algorithm, Cli, run};

/// The output of the tool, or its error. `@name` stands for a file with the content of `name` in `files`.
pub(crate) fn ring(files: &[(&str, &str)], command: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for (name, text) in files {
        fs::write(path(name), text).unwrap();
    }
    let arguments = command.split_whitespace().map(|word| match word.strip_prefix('@') {
        Some(name) => path(name),
        None => word.to_owned(),
    });
    let cli =
        Cli::try_parse_from(["ring".to_owned()].into_iter().chain(arguments)).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    run(&cli, &mut out)
        .map_err(|failure| failure.to_string().replace(&format!("{}/", directory.path().display()), "@"))?;
    Ok(String::from_utf8(out).unwrap())
}

const THREE: (&str, &str) = ("nodes", "a\nb 2\n\nc 1 zone rack\n");

#[test]
fn owners_of_slots_need_no_nodes() {
    let keys = ("keys", "123456789\n{user1000}.following\nfoo\n");
    let slots = ring(&[keys], "owners --algorithm redis-slot --keys @keys");
    assert_eq!(slots.unwrap(), "123456789\t12739\n{user1000}.following\t3443\nfoo\t12182\n");
}

/// The second token is that of Cassandra's driver 3.30.1.
#[test]
fn tokens_need_no_nodes() {
    let files = [("keys", "a\nuser:0\n"), ("nodes", "a\n")];
    let tokens = ring(&files, "owners --algorithm cassandra --keys @keys");
    assert_eq!(tokens.unwrap(), "a\t-8839064797231613815\nuser:0\t6339893720897220837\n");
    let refused = ring(&files, "owners --algorithm cassandra --keys @keys --nodes @nodes").unwrap_err();
    assert!(refused.starts_with("cassandra stands for tokens"), "{refused}");
    let refused = ring(&files, "owners --algorithm pymemcache --keys @keys --nodes @nodes --numeric").unwrap_err();
    assert_eq!(refused, "@keys, line 1: \"a\" is not a number of 64 bits");
}

#[test]
fn numbers_are_taken_as_they_are() {
    let nodes: String = (0..60).map(|i| format!("n{i}\n")).collect();
    let files = [("nodes", nodes.as_str()), ("keys", "0\n1\n2\n")];
    let owners = ring(&files, "owners --algorithm jump --nodes @nodes --keys @keys --numeric");
    assert_eq!(owners.unwrap(), "0\tn0\n1\tn55\n2\tn46\n");
}

#[test]
fn files_from_windows_place_the_same_keys() {
    let placed = |nodes, keys| {
        ring(&[("nodes", nodes), ("keys", keys)], "owners --algorithm ring --nodes @nodes --keys @keys").unwrap()
    };
    let expected = placed("a\nb 2\nc 1 z r\n", "k1\nk2\n\nk3\n");
    assert_eq!(placed("a\r\nb 2\r\nc 1 z r\r\n", "k1\r\nk2\r\n\r\nk3\r\n"), expected);
    assert_eq!(placed("\u{feff}a\r\nb 2\r\nc 1 z r", "\u{feff}k1\r\nk2\r\n\r\nk3"), expected);
    let numeric =
        ring(&[THREE, ("keys", "1\r\n2\r\n")], "owners --algorithm ring --nodes @nodes --keys @keys --numeric");
    assert!(numeric.unwrap().starts_with("1\t"));
}

/// Files that would take very long or much memory if each part were compared with all others.
#[test]
fn large_configurations_are_read_or_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring.gz");
    let swift = |part_shift: u32, devices: u16, table: &[u8]| {
        let device = |i| format!(r#"{{"ip":"{i}","port":1,"device":"d","zone":1,"weight":1}}"#);
        let devices = (0..devices).map(device).collect::<Vec<_>>().join(",");
        let header = format!(r#"{{"part_shift":{part_shift},"devs":[{devices}]}}"#);
        let length = u32::try_from(header.len()).unwrap().to_be_bytes();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &[b"R1NG\0\x01", &length[..], header.as_bytes(), table].concat())
            .unwrap();
        fs::write(&path, packed.finish().unwrap()).unwrap();
        ring(&[("keys", "key\n")], &format!("owners --config {} --format swift --keys @keys", path.display()))
    };
    // A table of 65,536 partitions on as many devices, each at an address of its own.
    let table: Vec<u8> = (0..u16::MAX).chain([0]).flat_map(u16::to_le_bytes).collect();
    assert!(swift(16, u16::MAX, &table).unwrap().starts_with("key\tr1z1-"));
    let refused = swift(31, 1, &[0; 4 * 257]).unwrap_err();
    assert!(refused.ends_with("the ring has more than 256 replicas, which is all that is read"), "{refused}");
    let quotes = format!("a:\n  {}\n", "\"#".repeat(500_000));
    let refused = ring(&[("file", &quotes)], "owners --config @file --format twemproxy --keys @file").unwrap_err();
    assert!(refused.contains("is not a setting"), "{}", &refused[..60]);
}

#[test]
fn every_algorithm_owns_balances_moves_and_draws() {
    let keys: String = (0..50).map(|i| format!("key-{i}\n")).collect();
    let files = [("nodes", "a\nb\nc\n"), ("more", "a\nb\nc\nd\n"), ("keys", keys.as_str())];
    for algorithm in algorithms() {
        let placing = format!("--algorithm {algorithm} --samples 1000");
        let owners = ring(&files, &format!("owners --algorithm {algorithm} --nodes @nodes --keys @keys")).unwrap();
        assert_eq!(owners.lines().count(), 50);
        let balance = ring(&files, &format!("balance {placing} --nodes @nodes")).unwrap();
        assert!(balance.contains("1000 keys: peak/mean "), "{balance}");
        let plan = ring(&files, &format!("move {placing} --from @nodes --to @more")).unwrap();
        assert!(plan.contains("minimum"), "{plan}");
        let picture = ring(&files, &format!("plot {placing} --nodes @nodes --to @more")).unwrap();
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    }
}

/// The parts of a ring are drawn with the shares that they have: all of the circle for a node alone.
#[test]
fn a_ring_is_drawn() {
    let picture = |nodes, command: &str| {
        ring(&[("nodes", nodes)], &format!("plot --nodes @nodes --samples 1000 --algorithm {command}")).unwrap()
    };
    let arcs = |picture: &str| picture.matches("<path").count();
    let three = picture("a\nb 2\nc\n", "ring --virtual-nodes 10");
    assert!(three.contains("Ring of 40 parts"), "{three}");
    // A part goes round the end.
    assert_eq!(arcs(&three), 41);
    let one = picture("a\n", "ring --virtual-nodes 1");
    assert!(one.contains("a 100.00 %"));
    // An arc of more than half a turn is drawn in three parts.
    assert_eq!(arcs(&one), 4);
    let many = picture("a\nb\n", "ring --virtual-nodes 3000");
    assert!(many.contains("too many parts") && arcs(&many) == 4096);
    let names: String = (0..100).map(|i| format!("node-{i}\n")).collect();
    let named = picture(&names, "ring --virtual-nodes 1");
    assert!(named.contains("node-38 ") && !named.contains("node-39 ") && named.contains("and 61 more"));
    assert_eq!(arcs(&picture("a\nb\n", "maglev")), 0);
}

#[test]
fn replicas_are_distinct_and_follow_the_zones() {
    let nodes = ("nodes", "a 1 east r1\nb 1 east r1\nc 1 east r2\nd 2 west r1\n");
    let keys = ("keys", "k\n");
    let line =
        ring(&[nodes, keys], "owners --algorithm ring --nodes @nodes --keys @keys --zones east=2,west=1").unwrap();
    let owners: Vec<_> = line.trim().strip_prefix("k\t").unwrap().split(',').collect();
    assert!(owners.contains(&"c") && owners.contains(&"d") && owners.len() == 3, "{line}");
    let line = ring(&[nodes, keys], "owners --algorithm maglev --nodes @nodes --keys @keys --replicas 4").unwrap();
    assert!(["a", "b", "c", "d"].iter().all(|node| line.contains(node)), "{line}");
}

#[test]
fn bad_input_is_refused_by_line() {
    let keys = ("keys", "1\nx\n4294967296\n");
    let owners =
        |nodes, options| ring(&[("nodes", nodes), keys], &format!("owners --nodes @nodes --keys @keys {options}"));
    let complaints = [
        ("", "--algorithm ring", "there are no nodes"),
        ("a\na\n", "--algorithm ring", "node \"a\" is given twice"),
        ("a\nb 0\n", "--algorithm ring", "@nodes, line 2: \"0\": weight is not above zero"),
        ("a NaN\n", "--algorithm ring", "@nodes, line 1: \"NaN\": weight is not a number"),
        ("a 1e10\n", "--algorithm ring", "@nodes, line 1: \"1e10\": weight is above 4294967295"),
        ("a\n", "--algorithm ring --replicas 18446744073709551615", "18446744073709551615 replicas wanted of 1 nodes"),
        ("a\nA\n", "--algorithm nginx", "nodes \"a\" and \"A\" mean the same server"),
        (
            "a\n",
            "--algorithm envoy --ring-size 8388609",
            "a ring of at least 8388609 and at most 8388608 tokens is not possible: both are at most 8388608, in this order",
        ),
        ("a x\n", "--algorithm ring", "@nodes, line 1: \"x\" is not a weight"),
        ("a 1 z r more\n", "--algorithm ring", "@nodes, line 1: \"more\" is one field too many"),
        ("a\nb 2\n", "--algorithm jump", "the algorithm has no weights, but those given differ"),
        ("a\n", "--algorithm ring --replicas 2", "2 replicas wanted of 1 nodes"),
        ("a\n", "--algorithm jump --numeric", "@keys, line 2: \"x\" is not a number of 64 bits"),
        ("a\n", "--algorithm maglev --table-size 1000", "table size 1000 is not a prime that fits the nodes"),
        ("a 1.5\n", "--algorithm nginx", "the weight of node \"a\" is not a whole number"),
    ];
    for (nodes, options, complaint) in complaints {
        assert_eq!(owners(nodes, options).unwrap_err(), complaint);
    }
    let missing = ring(&[THREE], "owners --algorithm ring --nodes @nodes --keys @none").unwrap_err();
    assert!(missing.starts_with("@none: "), "{missing}");
    let large =
        ring(&[THREE, ("keys", "4294967296\n")], "owners --algorithm ketama --nodes @nodes --keys @keys --numeric");
    assert_eq!(large.unwrap_err(), "@keys, line 1: 4294967296 is above 32 bits, which is all the system hashes to");
}

/// The text behind a name and a tab.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> &'a str {
    fields(text, name).next().unwrap_or_else(|| panic!("{name}: {text}"))
}

/// The texts behind a name and a tab.
pub(crate) fn fields<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('\t'))
}

/// All algorithms that place on nodes of a list.
pub(crate) fn algorithms() -> impl Iterator<Item = Algorithm> {
    Algorithm::value_variants().iter().copied().filter(|algorithm| *algorithm != Algorithm::Cassandra)
}

#[test]
fn configurations_place_as_lists_of_the_same_servers_do() {
    let keys: String = (0..200).map(|i| format!("key-{i}\n")).collect();
    let nginx = "events {}\nhttp { # comment { \n upstream other { server x; }\n upstream app {\n  zone app 64k;\n  \
                 hash \"${uri}$is_args\" consistent;\n server 10.0.0.1:80 weight=2 max_fails=3; server 10.0.0.2;\n \
                 server 10.0.0.3:81 down;\n server 10.0.0.9 backup; }\n server { location / { proxy_pass http://app; } }\n}\n";
    let haproxy = "global\n maxconn 10\ndefaults\n mode http\n hash-type consistent wt6 avalanche\nfrontend f\n bind :80\n\
                   backend app\n balance uri\n server a 10.0.0.1:80 weight 3 check # first\n server b 10.0.0.2:80 weight 0\n \
                   server c 10.0.0.3:80 id 1\n";
    let twemproxy = "alpha:\n  listen: 127.0.0.1:22121\n  hash: md5\n  hash_tag: \"{}\"\n  distribution: ketama\n  servers:\n   \
                     - 10.0.0.1:11211:1\n   - 10.0.0.2:7000:2 cache two  # named\n\nbeta:\n  distribution: modula\n  servers:\n  - 10.0.0.1:7000:1\n";
    let files = [
        ("nginx", nginx),
        ("haproxy", haproxy),
        ("twemproxy", twemproxy),
        ("keys", keys.as_str()),
        ("nodes", "10.0.0.1:80 2\n10.0.0.2 1\n10.0.0.3:81\n"),
    ];
    let run = |command: &str| ring(&files, command).unwrap();
    assert_eq!(
        run("owners --config @nginx --format nginx --section app --keys @keys"),
        run("owners --algorithm nginx --nodes @nodes --keys @keys")
    );
    // In HAProxy a weight of zero gets no keys, and the id counts.
    let placed = run("owners --config @haproxy --format haproxy --keys @keys");
    assert!(placed.contains("\ta\n") && placed.contains("\tc\n") && !placed.contains("\tb\n"), "{placed}");
    let placed = run("owners --config @twemproxy --format twemproxy --section alpha --keys @keys");
    assert!(placed.contains("\t10.0.0.1:11211\n") && placed.contains("\tcache two\n"), "{placed}");
    let modula = run("owners --config @twemproxy --format twemproxy --section beta --keys @keys");
    assert!(modula.lines().all(|line| line.ends_with("\t10.0.0.1:7000")), "{modula}");
}

#[test]
fn a_redis_cluster_is_read_with_its_slots() {
    let nodes = "07c3 127.0.0.1:30004@31004,host slave e7d1 0 1426238317239 4 connected\n\
                 67ed 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922 [10922->-e7d1]\n\
                 e7d1 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-5460 12182\n\
                 2929 127.0.0.1:30003@31003 master - 0 1426238318243 3 connected 10923-12181 12183-16383\n";
    let files =
        [("nodes", nodes), ("keys", "foo\n123456789\n{user1000}.following\n"), ("cut", &nodes[..nodes.len() - 13])];
    let owners = ring(&files, "owners --config @nodes --format redis-nodes --keys @keys").unwrap();
    let expected = "foo\t127.0.0.1:30001\n123456789\t127.0.0.1:30003\n{user1000}.following\t127.0.0.1:30001\n";
    assert_eq!(owners, expected);
    let refused = ring(&files, "owners --config @cut --format redis-nodes --keys @keys").unwrap_err();
    assert!(refused.starts_with("@cut: ") && refused.ends_with(" slots are on no master"), "{refused}");
}

#[test]
fn nodes_of_a_redis_cluster_have_addresses_of_ipv6_or_none() {
    let nodes = "aa ::1:7000@17000 master - 0 0 1 connected 0-5000\nbb :0@0 master - 0 0 2 connected 5001-10000\n\
                 cc 2001:db8::2:7000@17000,name master,fail - 0 0 3 connected 10001-16383\n";
    let files = [("nodes", nodes), ("keys", "a\nfoo\nb\n")];
    let owners = ring(&files, "owners --config @nodes --format redis-nodes --keys @keys").unwrap();
    assert_eq!(owners, "a\t2001:db8::2:7000\nfoo\t2001:db8::2:7000\nb\t::1:7000\n");
}

/// Small files that ask for much memory or time.
#[test]
fn configurations_out_of_all_proportion_are_refused() {
    let refused = |format: &str, file: &str| {
        ring(&[("file", file)], &format!("owners --config @file --format {format} --keys @file")).unwrap_err()
    };
    // Each device is of one class, and the bucket has an id for each class.
    let many = 5000;
    let devices: String = (0..many).map(|i| format!("device {i} osd.{i} class c{i}\n")).collect();
    let ids: String = (0..many).map(|i| format!(" id {} class c{i}\n", -2 - i)).collect();
    let items: String = (0..many).map(|i| format!(" item osd.{i} weight 1\n")).collect();
    let complaint =
        refused("crush", &format!("type 1 host\n{devices}host a {{\n id -1\n alg straw2\n{ids}{items}}}\n"));
    assert_eq!(complaint, "@file, line 5002: the buckets have too many items for their number of classes");
    // Buckets within buckets, each twice, have weights that double, and a rule that tries for ever finds nothing.
    let tunables = "tunable choose_local_tries 0\ntunable choose_local_fallback_tries 0\ntunable choose_total_tries 50\n\
                    tunable chooseleaf_descend_once 1\ntunable chooseleaf_vary_r 1\ntunable chooseleaf_stable 1\n";
    let nested: String =
        (2..100).map(|i| format!("host h{i} {{\n id -{i}\n alg straw2\n item h{0}\n item h{0}\n}}\n", i - 1)).collect();
    let rule = "rule r {\n step take h99\n step choose firstn 0 type osd\n step emit\n}\n";
    let map = format!("{tunables}type 0 osd\ntype 1 host\nhost h1 {{\n id -1\n alg straw2\n}}\n{nested}{rule}");
    assert_eq!(refused("crush", &map), "@file: the rule finds no device for placement group 0");
    // A bucket that contains itself cannot be written: it is not known yet where it is.
    let circle = "type 1 host\nhost a {\n id -1\n alg straw2\n item b\n}\nhost b {\n id -2\n alg straw2\n item a\n}\n";
    assert_eq!(refused("crush", circle), "@file, line 5: \"b\" is not known");
    let directory = tempfile::tempdir().unwrap();
    let (config, keys) = (directory.path().join("ring.gz"), directory.path().join("keys"));
    fs::write(&keys, "key\n").unwrap();
    let header = format!(r#"{{"devs":[null{}],"part_shift":24}}"#, ",null".repeat(1 << 16));
    let mut bytes = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let length = u32::try_from(header.len()).unwrap().to_be_bytes();
    for part in [&b"R1NG"[..], &[0, 1], &length[..], header.as_bytes()] {
        bytes.write_all(part).unwrap();
    }
    fs::write(&config, bytes.finish().unwrap()).unwrap();
    let (path, keys) = (config.to_str().unwrap(), keys.to_str().unwrap());
    let cli = Cli::try_parse_from(["ring", "owners", "--config", path, "--format", "swift", "--keys", keys]).unwrap();
    let complaint = run(&cli, &mut Vec::new()).unwrap_err().to_string();
    assert!(complaint.contains("the header of the ring: there are more than 65536 devices"), "{complaint}");
}

#[test]
fn a_swift_ring_places_as_swift_does() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../consistent-hash/tests/golden/systems/");
    let table = fs::read_to_string(format!("{golden}swift.tsv")).unwrap();
    let keys: String = table.lines().map(|line| format!("{}\n", line.split('\t').next().unwrap())).collect();
    let command = format!(
        "owners --config {golden}swift.ring.gz --format swift --swift-prefix pre --swift-suffix suf --replicas 13 --keys @keys"
    );
    let placed = ring(&[("keys", &keys)], &command).unwrap();
    let mut lines = 0;
    for (line, expected) in placed.lines().zip(table.lines()) {
        let devices = line.split_once('\t').unwrap().1.split(',');
        let found: Vec<_> = devices.map(|name| name.rsplit_once("/d").unwrap().1).collect();
        assert_eq!(found, expected.split('\t').skip(2).collect::<Vec<_>>(), "{line}");
        lines += 1;
    }
    assert_eq!(lines, 256);
}

#[test]
fn a_crush_map_places_as_ceph_does() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../consistent-hash/tests/golden/systems/");
    let table = fs::read_to_string(format!("{golden}crush-map.tsv")).unwrap();
    let lines: Vec<[&str; 4]> =
        table.lines().map(|line| line.split('\t').collect::<Vec<_>>().try_into().unwrap()).collect();
    for (rule, size, more) in [
        ("replicated", 3, "--numeric --reweights osd.4=0.5,osd.9=0"),
        ("racks", 4, "--numeric --reweights osd.4=0.5,osd.9=0"),
        ("on_ssd", 3, "--numeric --reweights osd.9=0"),
        ("erasure", 6, "--numeric --reweights osd.4=0.5"),
        ("mixed", 3, "--numeric --reweights osd.4=0.5,osd.9=0"),
        ("object", 3, ""),
    ] {
        let wanted: Vec<_> = lines.iter().filter(|line| line[0] == rule).collect();
        let keys: String = wanted.iter().map(|line| format!("{}\n", line[2])).collect();
        let rule = if rule == "object" { "replicated" } else { rule };
        let command = format!(
            "owners --config {golden}crush-map.txt --format crush --rule {rule} --pg-num 192 --pool-size {size} \
             --replicas {size} --keys @keys {more}"
        );
        let placed = ring(&[("keys", &keys)], &command).unwrap();
        assert_eq!(placed.lines().count(), wanted.len());
        for (line, [.., devices]) in placed.lines().zip(wanted) {
            let expected: Vec<_> = devices.split(',').map(|device| format!("osd.{device}")).collect();
            assert_eq!(line.split_once('\t').unwrap().1, expected.join(","), "{rule} {line}");
        }
    }
}

#[test]
fn bad_configurations_are_refused_by_line() {
    let complaints = [
        ("nginx", "upstream a { server x weight=0; }", "@file, line 1: nginx takes no weight of zero"),
        ("nginx", "upstream a {\n server x weight=y; }", "@file, line 2: \"y\" is not a weight"),
        (
            "nginx",
            "upstream a { server x; }",
            "@file: the upstream has no `hash KEY consistent`, which alone places on a ring",
        ),
        (
            "nginx",
            "upstream a { hash $x consistent; server x; hash $x; }",
            "@file: the upstream has no `hash KEY consistent`, which alone places on a ring",
        ),
        ("nginx", "upstream a {\n server x;; }", "@file, line 2: a directive is missing before a semicolon"),
        ("nginx", "upstream a { hash $x consistent; server x;", "@file: the upstream has no end"),
        (
            "nginx",
            "upstream a { }\nupstream b { }",
            "@file: there is more than one upstream, name one by --section: a, b",
        ),
        ("haproxy", "backend a\n server x", "@file, line 2: a server has no address"),
        ("haproxy", "backend a\n hash-type consistent md5\n", "@file, line 2: \"md5\" is no hash function of HAProxy"),
        ("haproxy", "backend a\n server x 1:1 id z\n", "@file, line 2: \"z\" is not an id"),
        ("haproxy", "defaults\n server x 1:1\n", "@file, line 2: HAProxy takes no server in `defaults`"),
        (
            "haproxy",
            "backend a\n server x 1:1 weight 257\n",
            "@file, line 2: HAProxy takes no weight above 256, as 257",
        ),
        ("haproxy", "global\n", "@file: there is no backend with servers"),
        ("twemproxy", "a:\n  hash: sha1\n", "@file, line 2: \"sha1\" is no hash of memcached's clients"),
        ("twemproxy", "a:\n  servers:\n   - 1.1.1.1:1\n", "@file, line 3: \"1.1.1.1:1\" has no port"),
        ("twemproxy", "  hash: md5\n", "@file, line 1: this stands before the first pool"),
        (
            "twemproxy",
            "a:\n  distribution: random\n",
            "@file, line 2: the distribution \"random\" places no key for certain",
        ),
        ("crush", "host a {\n", "@file, line 1: the block has no end"),
        ("crush", "# map\n\ndevice x osd.0\n", "@file, line 3: \"x\" is no such number"),
        (
            "crush",
            "type 1 host\nhost a {\n alg straw\n}\n",
            "@file, line 3: buckets of the kind straw are not read, only straw2",
        ),
        ("crush", "type 1 host\nhost a {\n item osd.0 weight 1\n}\n", "@file, line 3: \"osd.0\" is not known"),
        ("crush", "choose_args 1 {\n}\n", "@file, line 1: weight sets (choose_args) are not read"),
        ("crush", "device 0 a\ndevice 1 a\n", "@file, line 2: there are two devices or buckets named a"),
        ("crush", "type 1 host\nhost a {\n id -1\n}\n", "@file, line 2: the bucket has no algorithm"),
        (
            "crush",
            "type 1 host\nhost a {\n id -1\n alg straw2\n}\nhost b {\n id -1\n alg straw2\n}\n",
            "@file, line 6: there are two buckets with the id -1",
        ),
        (
            "crush",
            "type 1 host\nhost a {\n id -2 class c\n id -3 class c\n}\n",
            "@file, line 4: the bucket has two ids for the class c",
        ),
        ("crush", "", "@file: the tunable choose_local_tries is 2; only the profile jewel and later ones are read"),
        ("redis-nodes", "a b c\n", "@file, line 1: this is no line of CLUSTER NODES: fields are missing"),
        ("redis-nodes", "a b:1 master - 0 0 1 connected 0-16384\n", "@file, line 1: \"0-16384\" is no range of slots"),
        ("redis-nodes", "a b:1 master - 0 0 1 connected 0-5 5\n", "@file, line 1: slot 5 is on b:1 as well"),
    ];
    for (format, file, complaint) in complaints {
        let command = format!("owners --config @file --format {format} --keys @file");
        assert_eq!(ring(&[("file", file)], &command).unwrap_err(), complaint, "{file}");
    }
    let no_gzip = ring(&[("file", "R1NG")], "owners --config @file --format swift --keys @file").unwrap_err();
    assert!(no_gzip.starts_with("@file: this is no gzip: "), "{no_gzip}");
}

#[test]
fn moving_between_systems_is_priced_on_keys() {
    let keys: String = (0..300).map(|i| format!("key-{i}\n")).collect();
    let files = [("nodes", "a\nb\nc\n"), ("keys", keys.as_str())];
    let priced =
        ring(&files, "move --from-system ketama --to-system ring --from @nodes --to @nodes --keys @keys").unwrap();
    // Every node is listed with the keys it held, lost and gained; none is lost between them.
    let table = priced.split_once("node\tbefore\tafter\tgoes\tcomes\n").unwrap().1;
    let nodes = ["a", "b", "c"]
        .map(|name| -> Vec<u64> { field(table, name).split('\t').map(|number| number.parse().unwrap()).collect() });
    assert_eq!(nodes.iter().map(|node| node[0]).sum::<u64>(), 300);
    assert_eq!(nodes.iter().map(|node| node[1]).sum::<u64>(), 300);
    for node in &nodes {
        assert_eq!(node[0] - node[2] + node[3], node[1], "{priced}");
    }
    assert!(priced.contains("300 keys: moved ") && priced.contains("peak/mean "), "{priced}");
    let refused =
        ring(&files, "move --from-system ketama --to-system ring --from @nodes --to @nodes --keys @keys --numeric");
    assert!(refused.unwrap_err().contains("hash a key differently"));
}

const NGINX: &str = "upstream app { hash $uri consistent; server a:80 weight=2; server b:80; server c:80; }";
const HAPROXY: &str =
    "backend app\n hash-type consistent crc32\n server a:80 1:1 weight 2\n server b:80 1:2 id 7\n server d:80 1:3\n";
const TWEMPROXY: &str = "one:\n  hash: md5\n  hash_tag: \"{}\"\n  servers:\n  - 1.1.1.1:11211:1 a:80\n  - 1.1.1.2:11211:2 b:80\n\
     two:\n  hash: md5\n  distribution: modula\n  servers:\n  - 1.1.1.1:11211:1 a:80\n  - 1.1.1.2:11211:2 b:80\n";

#[test]
fn two_configurations_are_compared() {
    let keys: String = (0..100).map(|i| format!("key-{i}\n")).collect();
    let files = [
        ("nginx", NGINX),
        ("haproxy", HAPROXY),
        ("twemproxy", TWEMPROXY),
        ("keys", keys.as_str()),
        ("nodes", "a:80 2\nb:80\nc:80\n"),
    ];
    let priced = |from: &str, to: &str, more: &str| ring(&files, &format!("move {from} {to} {more}"));
    let nginx = "--from-config @nginx --from-format nginx";
    // By the keys of a file.
    let table = priced(nginx, "--to-config @haproxy --to-format haproxy", "--keys @keys").unwrap();
    assert!(table.contains("100 keys: moved ") && table.contains("\nd:80\t0\t"), "{table}");
    // Both hash with CRC-32, so there is a plan of ranges, which says what happens to each key.
    let plan = priced(nginx, "--to-config @haproxy --to-format haproxy", "").unwrap();
    assert!(plan.starts_with("after\tup to\tfrom\tto\n") && plan.contains("\tc:80\td:80\n"), "{plan}");
    // A configuration on one side, a list on the other.
    let equal = priced(nginx, "--to @nodes --to-system nginx", "").unwrap();
    assert!(equal.contains("0 ranges: moved 0.0000 %"), "{equal}");
    let back = priced("--from @nodes --from-system nginx", "--to-config @nginx --to-format nginx", "--keys @keys");
    assert!(back.unwrap().contains("100 keys: moved 0.0000 %"));
    let sections = "--from-config @twemproxy --from-format twemproxy --from-section one";
    let other = "--to-config @twemproxy --to-format twemproxy --to-section two";
    assert!(priced(sections, other, "--keys @keys").unwrap().contains("100 keys: moved "));
    // Refusals.
    let complaint = priced(nginx, "--to-config @haproxy", "").unwrap_err();
    assert!(complaint.contains("--to-format"), "{complaint}");
    let complaint = priced(nginx, "--to-config @nginx --to-format nginx --config @nginx --format nginx", "");
    assert!(complaint.unwrap_err().starts_with("--config is for one placement"));
    let complaint = priced(nginx, "--to-config @haproxy --to-format twemproxy", "").unwrap_err();
    assert!(complaint.starts_with("@haproxy, line 1: "), "{complaint}");
    let complaint = priced(nginx, "--to @nodes --to-system rendezvous", "--replicas 2").unwrap_err();
    assert!(complaint.starts_with("there is no plan of ranges between these"), "{complaint}");
}

#[test]
fn damaged_configurations_are_refused_or_read_and_no_more() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../consistent-hash/tests/golden/systems/");
    let crush = fs::read(format!("{golden}crush-map.txt")).unwrap();
    let swift = fs::read(format!("{golden}swift.ring.gz")).unwrap();
    let redis = b"id1 1.1.1.1:1@2 myself,master - 0 0 1 connected 0-8000 [93-<-id2]\nid2 1.1.1.1:2@3 master - 0 0 2 connected 8001-16383\n";
    let directory = tempfile::tempdir().unwrap();
    let (config, keys) = (directory.path().join("config"), directory.path().join("keys"));
    fs::write(&keys, "key\n").unwrap();
    let mut read = 0;
    for (format, whole, section, step) in [
        ("nginx", NGINX.as_bytes(), "--section app", 2),
        ("haproxy", HAPROXY.as_bytes(), "--section app", 2),
        ("twemproxy", TWEMPROXY.as_bytes(), "--section one", 3),
        ("twemproxy", TWEMPROXY.as_bytes(), "--section two", 5),
        ("redis-nodes", redis, "", 3),
        ("crush", &crush, "--rule replicated --pg-num 8 --pool-size 3", 101),
        ("swift", &swift, "", 29),
    ] {
        let mut damaged: Vec<Vec<u8>> = Vec::new();
        for at in (0..whole.len()).step_by(step) {
            damaged.push(whole[..at].to_vec());
            damaged.push([&whole[..at], &whole[at + 1..]].concat());
            for byte in [0, b'-', b'0', b'{', 0xFF] {
                damaged.push([&whole[..at], &[byte], &whole[at + 1..]].concat());
            }
        }
        let (path, keys) = (config.to_str().unwrap(), keys.to_str().unwrap());
        let mut command = vec!["ring", "owners", "--config", path, "--format", format, "--keys", keys];
        command.extend(section.split_whitespace());
        let cli = Cli::try_parse_from(command).unwrap();
        for bytes in damaged {
            fs::write(&config, &bytes).unwrap();
            // A reader that panics fails the test.
            read += u32::from(run(&cli, &mut Vec::new()).is_ok());
        }
    }
    assert!(read > 300, "{read}");
}

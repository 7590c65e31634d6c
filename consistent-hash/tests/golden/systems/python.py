"""Libraries of PyPI: `hazelcast-python-client` 5.5, `pymemcache` 4.0, `uhashring` 2.5.

`python3 python.py hazelcast > hazelcast.tsv`, and so on.
"""
import sys

from common import case, keys

three = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11212"]
LISTS = [
    ("three", three), ("one", ["a"]), ("two", ["b", "a"]), ("order", three[::-1]), ("prefixes", ["n", "n-", "n-1", "n-1-"]),
    ("utf8", ["сервер", "サーバー", "é"]), ("ipv6", ["::1", "[::1]:11211", "2001:db8::1"]), ("sockets", ["/run/a.sock", "/run/b.sock"]),
    ("long", ["x" * 200, "y" * 200]), ("ports", ["a:1", "a:11211", "a"]), ("spaces", ["a b", "a  b", " a"]), ("capitals", ["Cache", "cache", "CACHE"]),
    *[(f"nodes-{count}", [f"node-{i}" for i in range(count)]) for count in (4, 5, 7, 10, 16, 31, 64, 100, 200, 300)],
]
WEIGHTS = [
    ("weights", [("a", 1), ("b", 2), ("c", 5)]), ("weight-hundred", [("a", 1), ("b", 100)]), ("weight-zero", [("a", 1), ("b", 0)]),
    ("weights-thirty", [(f"n{i}", 1 + i % 7) for i in range(30)]),
]
text = [key.decode() for key in keys()]


def hazelcast():
    from hazelcast.config import Config
    from hazelcast.hash import hash_to_index
    from hazelcast.serialization import SerializationServiceV1

    service = SerializationServiceV1(Config())
    for count in (271, 1, 2, 3, 7, 10, 16, 31, 64, 100, 127, 128, 255, 256, 300, 997, 1000, 1999, 4096, 65535):
        owners = [hash_to_index(service.to_data(key).get_partition_hash(), count) for key in text]
        case(f"partitions-{count}", [], owners, count)


def pymemcache():
    from pymemcache.client.rendezvous import RendezvousHash

    for name, nodes in LISTS:
        rendezvous = RendezvousHash(list(nodes))
        case(name, nodes, [rendezvous.get_node(key) for key in text])


def uhashring():
    from uhashring import HashRing

    for name, nodes in LISTS + WEIGHTS:
        weights = {node: 1 for node in nodes} if isinstance(nodes[0], str) else dict(nodes)
        ring = HashRing(nodes=weights)
        case(name, nodes, [ring.get_node(key) for key in text])


globals()[sys.argv[1]]()

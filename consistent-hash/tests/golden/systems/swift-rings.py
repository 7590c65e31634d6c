"""OpenStack Swift, PyPI's `swift` 2.38.0: rings of its builder, and where its `Ring` finds devices for 2,000 paths.

`python3 swift-rings.py > swift-rings.tsv`. The settings of a case are the part power, the prefix, the suffix, and a row of each replica: three
digits, to the base of 36, for each partition. A server has its region, zone and address. An owner is the partition and the first four
devices (replicas, then handoffs) as digits to the base of 1000, the partition the highest; each device is one more than its number.
"""
import os
import tempfile

from swift.common import utils
from swift.common.ring import Ring, RingBuilder

from common import case, keys

utils.validate_hash_conf = lambda: None
os.chdir(tempfile.mkdtemp())
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
device = lambda i, regions, zones, hosts, weight: dict(
    id=i, region=1 + i % regions, zone=1 + i // regions % zones, ip=f"10.0.0.{i % hosts}" if i % 5 else f"fd00::{i % hosts}", port=6200, device=f"d{i}", weight=weight)
# Name, part power, replicas, devices, regions, zones, hosts, weights, prefix, suffix.
CASES = [
    ("three", 6, 3, 3, 1, 1, 3, [1], "", "changeme"), ("one", 5, 1, 1, 1, 1, 1, [1], "", "suf"), ("two-of-one", 4, 2, 4, 1, 1, 4, [1], "pre", ""),
    ("power-1", 1, 3, 5, 1, 5, 5, [1], "pre", "suf"), ("power-2", 2, 3, 7, 2, 2, 7, [1], "", "s"), ("power-8", 8, 3, 12, 2, 3, 6, [1], "pre", "suf"),
    ("zones", 6, 3, 9, 1, 3, 9, [1], "pre", "suf"), ("regions", 6, 3, 8, 2, 2, 8, [1], "pre", "suf"), ("regions-of-four", 6, 4, 16, 4, 2, 8, [1], "", "x"),
    ("weights", 6, 3, 6, 1, 3, 6, [1, 2, 5], "pre", "suf"), ("weight-zero", 6, 3, 7, 1, 3, 7, [1, 1, 0], "pre", "suf"), ("heavy", 6, 3, 5, 1, 5, 5, [100, 1, 1], "", "suf"),
    ("half-a-replica", 6, 2.5, 8, 1, 4, 8, [1], "pre", "suf"), ("three-and-a-quarter", 6, 3.25, 9, 2, 3, 9, [1], "pre", "suf"), ("few-hosts", 6, 3, 12, 1, 3, 2, [1], "pre", "suf"),
    ("one-host", 6, 3, 6, 1, 1, 1, [1], "pre", "suf"), ("sixteen", 7, 3, 16, 2, 4, 8, [1, 2, 3], "päre", "süf"), ("many", 7, 3, 100, 3, 5, 20, [1], "pre", "suf"),
    ("most", 7, 3, 300, 3, 5, 60, [1, 2], "pre", "suf"), ("five", 6, 5, 10, 2, 5, 10, [1], "pre", "suf"), ("removed", 6, 3, 10, 2, 2, 5, [1, 3], "pre", "suf"),
]
for name, power, replicas, count, regions, zones, hosts, weights, prefix, suffix in CASES:
    utils.HASH_PATH_PREFIX, utils.HASH_PATH_SUFFIX = prefix.encode(), suffix.encode()
    builder = RingBuilder(power, replicas, 0)
    devices = [device(i, regions, zones, hosts, 100.0 * weights[i % len(weights)]) for i in range(count)]
    for one in devices:
        builder.add_dev(one)
    builder.rebalance(seed=7)
    if name == "removed":
        builder.remove_dev(3)
        builder.rebalance(seed=8)
    data = builder.get_ring()
    data.save("x.ring.gz")
    ring = Ring("x.ring.gz")
    owners = []
    for key in keys("text"):
        partition, found = ring.get_nodes("a", "c", key.decode().lstrip("/"))
        found = [one["id"] for one in found]
        more = ring.get_more_nodes(partition)
        while len(found) < 4 and (one := next(more, None)):
            found.append(one["id"])
        owners.append(sum((1 + one) * 1000**place for place, one in enumerate(found[:4])) + partition * 1000**4)
    rows = ["".join("0" + DIGITS[one // 36] + DIGITS[one % 36] for one in row) for row in data._replica2part2dev_id]
    servers = [(f"d{one['id']}", one["weight"], f"region={one['region']}", f"zone={one['zone']}", f"ip={one['ip']}") for one in devices]
    case(name, servers, owners, power, prefix, suffix, *rows)

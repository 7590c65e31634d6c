"""OpenStack Swift, PyPI's `swift` 2.38.0: paths of all partitions with their devices, and the ring that they are on.

`python3 swift-ring.py > swift.tsv`, which writes `swift.ring.gz` too. Columns are the path, its partition, and the numbers of all devices
in the order in which Swift asks them: those of the replicas, then the handoffs. Prefix and suffix are `pre` and `suf`.
"""
from swift.common import utils
from swift.common.ring import Ring, RingBuilder

utils.HASH_PATH_PREFIX, utils.HASH_PATH_SUFFIX = b"pre", b"suf"
utils.validate_hash_conf = lambda: None
builder = RingBuilder(8, 3.25, 1)
for i in range(14):
    builder.add_dev(dict(id=i, region=1 + i // 10, zone=1 + i % 3, ip=f"10.0.0.{i // 2}", port=6200, device=f"d{i}", weight=100.0 * (1 + i % 3)))
builder.remove_dev(5)
builder.rebalance(seed=7)
builder.get_ring().save("swift.ring.gz")
ring = Ring("swift.ring.gz")
paths = [("a",), ("a", "c")] + [("AUTH_test", "photos", f"картинка/{i}.jpg") for i in range(1998)]
seen = set()
for path in paths:
    partition, devices = ring.get_nodes(*path)
    if partition in seen:
        continue
    seen.add(partition)
    devices = [device["id"] for device in devices] + [device["id"] for device in ring.get_more_nodes(partition)]
    print("/" + "/".join(path), partition, *devices, sep="\t")

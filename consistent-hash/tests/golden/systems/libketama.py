"""libketama, as PyPI's `ketama` 0.1.1 compiles it.

`python3 libketama.py > libketama.tsv`. Keys go to it as bytes: of a text it hashes as many bytes as there are characters.
"""
import os
import sys
import tempfile

import ketama

from common import case, keys

hosts = lambda count: [f"10.0.{i // 200}.{1 + i % 200}:11211" for i in range(count)]
weighted = lambda servers, *weights: [(server, weights[i % len(weights)]) for i, server in enumerate(servers)]
CASES = [
    ("three", weighted(hosts(3), 1)),
    ("one", weighted(hosts(1), 1)),
    ("two", weighted(hosts(2), 600)),
    ("reversed", weighted(hosts(3)[::-1], 1)),
    ("memory", weighted(hosts(8), 600, 300, 200, 350, 1000, 800, 950, 100)),
    ("weights", weighted(hosts(3), 1, 3, 6)),
    ("heavy", weighted(hosts(5), 1000000)),
    ("share-too-small", weighted(hosts(2), 1, 1000)),
    ("hundred-to-one", weighted(hosts(3), 1, 100, 1)),
    ("weight-largest", weighted(hosts(3), 2147483647, 1, 1)),
    ("weights-beyond-single-precision", weighted(hosts(3), 16777217, 16777216, 16777219)),
    ("sum-beyond-31-bits", weighted(hosts(3), 1500000000, 1, 700000000)),
    ("ports", weighted(["a:1", "a:11211", "a:65535", "a"], 1)),
    ("ipv6", weighted(["[::1]:11211", "[2001:db8::1]:11211", "::1"], 2, 1, 1)),
    ("sockets", weighted(["/run/a.sock", "/run/b.sock", "/run/c.sock"], 1, 2, 1)),
    ("capitals", weighted(["Cache", "cache", "CACHE"], 1)),
    ("names", weighted(["n", "n-1", "n-", "1"], 1)),
    ("twice", weighted(["a:1", "b:1", "a:1"], 1, 1, 3)),
    ("longest-names", weighted(["x" * 19 + ":1", "y" * 19 + ":1"], 1)),
    *[(f"equal-{count}", weighted(hosts(count), 1)) for count in (4, 5, 6, 7, 10, 14, 28, 40, 100, 117)],
    ("thirty-weights", weighted(hosts(30), 1, 2, 3, 4, 5, 6, 7)),
    ("hundred-weights", weighted(hosts(100), 4, 1, 2)),
]
# The library keeps its ring in shared memory under a key made of the file, so each case has a process and a file of its own.
folder = tempfile.mkdtemp()
for number, (name, servers) in enumerate(CASES):
    with open(f"{folder}/{number}", "w") as file:
        file.write("".join(f"{server}\t{weight}\n" for server, weight in servers))
    if (child := os.fork()) == 0:
        ring = ketama.Ketama(f"{folder}/{number}")
        case(name, servers, [ring.get_server(key)[1] for key in keys("binary")])
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        print(f"case {name}: libketama crashed", file=sys.stderr)

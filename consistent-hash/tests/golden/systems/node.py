"""Libraries of npm: `hashring` 3.2.0 and `consistent-hashing` 0.3.0, in a folder where they are installed.

`NODE_PATH=node_modules python3 node.py hashring > npm-hashring.tsv`, and so on. A case of hashring has its `vnodes`, or nothing, and
its `compatibility` in its settings; one of consistent-hashing its `replicas`.
"""
import json
import os
import subprocess
import sys

from common import case, keys

text = [key.decode() for key in keys()]
three = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11212"]
weights = {"a:1": 1, "b:1": 2, "c:1": 5}
lists = [("three", three), ("one", ["a"]), ("two", ["b", "a"]), ("order", three[::-1]), ("prefixes", ["n", "n-", "n-1"])]
lists += [("utf8", ["сервер", "サーバー"]), ("sockets", ["/run/a.sock", "/run/b.sock"]), ("capitals", ["Cache", "cache"])]
lists += [(f"nodes-{count}", [f"node-{i}" for i in range(count)]) for count in (4, 7, 10, 30, 100, 300)]
if sys.argv[1] == "hashring":
    CASES = [(name, servers, {}) for name, servers in lists]
    CASES += [("weights", weights, {}), ("weights-thirty", {f"n{i}": 1 + i % 7 for i in range(30)}, {})]
    CASES += [(f"hash-ring-{name}", servers, {"compatibility": "hash_ring"}) for name, servers in lists[:4]]
    CASES += [("hash-ring-weights", weights, {"compatibility": "hash_ring"})]
    vnodes = lambda count: {name: {"vnodes": count} for name in three}
    CASES += [(f"vnodes-{count}", vnodes(count), {}) for count in (1, 40, 100)]
else:
    # It counts its tokens at every look-up, so that large rings have fewer.
    CASES = [(name, servers, {"replicas": 160 if len(servers) < 20 else 300 // len(servers)}) for name, servers in lists]
    CASES += [(f"replicas-{count}", three, {"replicas": count}) for count in (1, 2, 3, 7, 100, 500)]
lines = "".join(json.dumps({"servers": servers, "options": options, "keys": text}) + "\n" for _, servers, options in CASES)
script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node.js")
out = subprocess.run(["node", script, sys.argv[1]], input=lines, text=True, check=True, capture_output=True).stdout
for (name, servers, options), line in zip(CASES, out.splitlines()):
    if isinstance(servers, dict):
        weight = lambda value: 1 if isinstance(value, dict) else value
        listed = [(name, weight(value)) for name, value in servers.items()]
        settings = [next((str(value["vnodes"]) for value in servers.values() if isinstance(value, dict)), "")]
    else:
        listed, settings = servers, [""]
    settings = [options["replicas"]] if "replicas" in options else settings + [options.get("compatibility", "")]
    case(name, listed, json.loads(line), *settings)

"""HAProxy 2.6.12 (Debian's `haproxy`): one process with a section for each case, which answers with the name of the server chosen.

`python3 haproxy.py > haproxy.tsv`
"""
import os
import re
import socket
import subprocess
import tempfile
import time

from common import case, keys

os.chdir(tempfile.mkdtemp())
DEFAULT, three = "sdbm avalanche", ["alpha", "beta", "gamma"]
CASES = [
    ("three", DEFAULT, three),
    ("one", DEFAULT, ["only"]),
    ("two", DEFAULT, ["b", "a"]),
    ("order", DEFAULT, ["gamma", "beta", "alpha"]),
    ("sdbm", "sdbm", three),
    ("djb2", "djb2", three),
    ("djb2-avalanche", "djb2 avalanche", three),
    ("wt6", "wt6", three),
    ("wt6-avalanche", "wt6 avalanche", three),
    ("crc32", "crc32", three),
    ("crc32-avalanche", "crc32 avalanche", three),
    ("weights", DEFAULT, [("a", 1), ("b", 2), ("c", 5), ("d", 100), ("e", 256)]),
    ("weight-zero", DEFAULT, [("a", 1), ("b", 0), ("c", 2)]),
    ("first-weight-zero", DEFAULT, [("a", 0), ("b", 1), ("c", 1)]),
    ("ids", DEFAULT, [("a", 1, "id=100"), ("b", 2, "id=7"), ("c", 5, "id=3")]),
    ("some-ids", DEFAULT, ["a", ("b", 1, "id=1"), "c", ("d", 1, "id=3")]),
    ("id-first", DEFAULT, [("a", 1, "id=2"), "b", "c"]),
    ("large-ids", DEFAULT, [("a", 1, "id=1048575"), ("b", 1, "id=1048577"), ("c", 1, "id=2147483646")]),
    ("thirty", "crc32 avalanche", [(f"s{i}", 1 + i % 7) for i in range(30)]),
    ("three-hundred", DEFAULT, [f"server-{i}" for i in range(300)]),
    ("ten-thirds", "wt6", [(f"s{i}", 3) for i in range(10)]),
]
lines = ["global", " maxconn 200", "defaults", " mode http", " timeout connect 5s", " timeout client 60s", " timeout server 60s"]
for number, (_, hash, servers) in enumerate(CASES):
    # A stand-in for the servers says which one was chosen: the log of the front does not cost a connection for each.
    lines += [f"backend case{number}", " balance hash req.fhdr(x-key)", " hash-type consistent" + ("" if hash == DEFAULT else f" {hash}")]
    for server in servers:
        name, weight, *more = (server, 1) if isinstance(server, str) else server
        ids = "".join(" " + field.replace("=", " ") for field in more)
        lines.append(f" server {name} unix@back.sock weight {weight}{ids}")
    lines += [" http-response set-header x-server %s"]
lines += ["frontend front", " bind unix@front.sock", " use_backend case%[req.hdr(x-case)]"]
lines += ["frontend back", " bind unix@back.sock", " http-request return status 200"]
with open("haproxy.cfg", "w") as file:
    file.write("\n".join(lines) + "\n")
process = subprocess.Popen(["haproxy", "-db", "-f", "haproxy.cfg"])
try:
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect("front.sock")
            break
        except OSError:
            time.sleep(0.1)
    answers = client.makefile("rb")
    for number, (name, hash, servers) in enumerate(CASES):
        owners = []
        for key in keys():
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-case: %d\r\nx-key: %s\r\n\r\n" % (number, key))
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += answers.readline()
            length = re.search(rb"content-length: (\d+)", head)
            answers.read(int(length.group(1)) if length else 0)
            owners.append(re.search(rb"x-server: (\S+)", head).group(1).decode())
        case(name, servers, owners, *hash.split())
finally:
    process.terminate()
    process.wait()

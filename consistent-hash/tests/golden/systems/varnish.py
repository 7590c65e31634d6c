"""Varnish 7.1.1 (Debian's `varnish`): one VCL with a shard director for each case, which answers with the backend's name.

`python3 varnish.py > varnish.tsv`
"""
import os
import socket
import subprocess
import tempfile
import time

from common import case, keys

folder = tempfile.mkdtemp()
os.chmod(folder, 0o755)
os.chdir(folder)
three = ["alpha", "beta", "gamma"]
CASES = [
    ("three", three),
    ("one", ["only"]),
    ("two", ["b", "a"]),
    ("order", ["gamma", "beta", "alpha"]),
    ("capitals", [("a", 1, "hashed=Cache"), ("b", 1, "hashed=cache"), ("c", 1, "hashed=CACHE")]),
    ("weights", [("a", 1), ("b", 2), ("c", 5)]),
    ("weight-large", [("a", 1), ("b", 100)]),
    ("weight-fraction", [("a", 1.5), ("b", 1), ("c", 2.25)]),
    ("weight-below-one", [("a", 0.5), ("b", 1), ("c", 0.001)]),
    ("weight-zero", [("a", 0), ("b", 1)]),
    ("idents", [("alpha", 1, "hashed=10.0.0.1:80"), ("beta", 1, "hashed=10.0.0.2:80"), ("gamma", 1, "hashed=::1")]),
    ("ident-digits", [("a", 1, "hashed=1"), ("b", 1, "hashed=11"), ("c", 1, "hashed=111")]),
    ("ident-socket", [("a", 1, "hashed=/run/a.sock"), ("b", 2, "hashed=/run/b.sock")]),
    ("ident-utf8", [("a", 1, "hashed=сервер"), ("b", 1, "hashed=サーバー")]),
    ("ident-long", [("a", 1, "hashed=" + "x" * 200), ("b", 1, "hashed=" + "y" * 200)]),
    ("some-idents", [("a", 1, "hashed=b"), ("c", 1), ("d", 3, "hashed=a")]),
    ("seven", [f"node{i}" for i in range(7)]),
    ("thirty", [(f"node{i}", 1 + i % 4) for i in range(30)]),
    ("hundred", [f"cache_{i}" for i in range(100)]),
    ("three-hundred", [f"server_{i}" for i in range(300)]),
]
names = sorted({server if isinstance(server, str) else server[0] for _, servers in CASES for server in servers})
lines = ["vcl 4.1;", "import directors;"]
lines += [f'backend {name} {{ .path = "{folder}/none.sock"; }}' for name in names]
lines += ["sub vcl_init {"]
for number, (_, servers) in enumerate(CASES):
    lines.append(f" new d{number} = directors.shard();")
    for server in servers:
        name, weight, *more = (server, 1) if isinstance(server, str) else server
        ident = "".join(f', ident="{field.partition("=")[2]}"' for field in more)
        lines.append(f" d{number}.add_backend({name}{ident}, weight={weight});")
    lines.append(f" d{number}.reconfigure();")
lines += ["}", "sub vcl_recv {"]
for number in range(len(CASES)):
    backend = f"d{number}.backend(by=KEY, key=d{number}.key(req.http.x-key))"
    lines.append(f' if (req.http.x-case == "{number}") {{ return (synth(200, {backend})); }}')
lines += ["}"]
with open("shard.vcl", "w") as file:
    file.write("\n".join(lines) + "\n")
socket.socket(socket.AF_UNIX).bind("none.sock")
process = subprocess.Popen(
    ["varnishd", "-F", "-j", "none", "-n", folder + "/work", "-a", folder + "/front.sock", "-f", folder + "/shard.vcl", "-s", "malloc,20m"],
    stdout=subprocess.DEVNULL,
)
try:
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect("front.sock")
            break
        except OSError:
            time.sleep(0.1)
    answers = client.makefile("rb")
    for number, (name, servers) in enumerate(CASES):
        owners = []
        for key in keys():
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-case: %d\r\nx-key: %s\r\n\r\n" % (number, key))
            status = answers.readline().decode().split(None, 2)
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            answers.read(length)
            owners.append(status[2].strip())
        case(name, servers, owners)
finally:
    process.terminate()
    process.wait()

#!/usr/bin/env bash
# HAProxy 2.6.12 (Debian 12), `hash-type consistent`, balanced by a request header whose value has a comma.
# One would think: `balance hdr(x-key)` and `balance hash req.hdr(x-key)` hash the value of the header, so that `a,b` is a key of its own.
# It is: the first hashes what stands before the first comma, the second what stands behind the last one. Keys that differ elsewhere
# share a server, and the two ways of writing it disagree. Only `balance hash req.fhdr(x-key)` hashes the whole value.
# Seen: of 200 values `N,tail` with `hash req.hdr` all are on one server; of 200 values `head,N` with `hdr` all are on one server; with
# `req.fhdr` both are spread over more than 30 of 50 servers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
apt-get download haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 >/dev/null 2>&1
for package in *.deb; do dpkg-deb -x "$package" root; done
LD_LIBRARY_PATH=$(echo "$folder"/root/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH
python3 - <<'PYTHON'
import re
import socket
import subprocess
import time

HAPROXY = "root/usr/sbin/haproxy"
version = subprocess.run([HAPROXY, "-v"], capture_output=True, text=True).stdout.split()[2]
WAYS = {"hdr": "hdr(x-key)", "hash req.hdr": "hash req.hdr(x-key)", "hash req.fhdr": "hash req.fhdr(x-key)"}
lines = ["defaults", " mode http", " timeout connect 5s", " timeout client 30s", " timeout server 30s"]
for number, way in enumerate(WAYS.values()):
    lines += [f"backend way{number}", f" balance {way}", " hash-type consistent"]
    lines += [f" server s{server} unix@back.sock" for server in range(50)] + [" http-response set-header x-server %s"]
lines += ["frontend front", " bind unix@front.sock", " use_backend way%[req.hdr(x-way)]"]
lines += ["frontend back", " bind unix@back.sock", " http-request return status 200"]
with open("haproxy.cfg", "w") as file:
    file.write("\n".join(lines) + "\n")
process = subprocess.Popen([HAPROXY, "-db", "-f", "haproxy.cfg"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
try:
    client = socket.socket(socket.AF_UNIX)
    for _ in range(600):
        try:
            client.connect("front.sock")
            break
        except OSError:
            time.sleep(0.1)
    answers = client.makefile("rb")

    def owner(way, key):
        client.sendall(f"GET / HTTP/1.1\r\nhost: x\r\nx-way: {way}\r\nx-key: {key}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += answers.readline()
        length = re.search(rb"content-length: (\d+)", head)
        answers.read(int(length.group(1)) if length else 0)
        return re.search(rb"x-server: (\w+)", head).group(1)

    print(f"HAProxy {version}")
    spread = {}
    for number, name in enumerate(WAYS):
        for shape in ("{},tail", "head,{}"):
            spread[name, shape] = len({owner(number, shape.format(key)) for key in range(200)})
            print(f"balance {name}: 200 values {shape.format('N')} are on {spread[name, shape]} of 50 servers")
    assert version.startswith("2.6.12"), version
    assert spread["hdr", "head,{}"] == 1 and spread["hdr", "{},tail"] > 30
    assert spread["hash req.hdr", "{},tail"] == 1 and spread["hash req.hdr", "head,{}"] > 30
    assert spread["hash req.fhdr", "{},tail"] > 30 and spread["hash req.fhdr", "head,{}"] > 30
finally:
    process.terminate()
    process.wait()
PYTHON

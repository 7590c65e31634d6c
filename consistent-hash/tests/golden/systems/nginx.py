"""nginx 1.22.1 (Debian's `nginx-light`): `hash $http_x_key consistent`.

`python3 nginx.py > nginx.tsv`. No server listens: nginx answers with the address of the one that it asked, which is on loopback.
"""
import os
import re
import socket
import subprocess
import tempfile
import time

from common import case, keys

folder = tempfile.mkdtemp()
os.chdir(folder)
ports = lambda count: [f"127.0.0.1:{7000 + i}" for i in range(count)]
hosts = lambda count: [f"127.0.{1 + i // 200}.{1 + i % 200}:8080" for i in range(count)]
weighted = lambda servers, *weights: [(server, weights[i % len(weights)]) for i, server in enumerate(servers)]
CASES = [
    ("three", ports(3)),
    ("one", ports(1)),
    ("two", hosts(2)),
    ("reversed", ports(3)[::-1]),
    ("weights", weighted(ports(4), 1, 2, 5, 3)),
    ("heavy", weighted(ports(2), 1, 1000)),
    ("all-of-seven", weighted(ports(5), 7)),
    ("default-ports", ["127.0.0.1", "127.0.0.2", "127.0.0.3"]),
    ("port-80", ["127.0.0.1:80", "127.0.0.2", "127.0.0.3:80"]),
    ("one-of-each", ["127.0.0.1", "127.0.0.1:81", "127.0.0.1:82"]),
    ("ipv6", ["[::1]:7000", "[::1]:7001", "127.0.0.1:7000"]),
    ("ipv6-default-port", ["[::1]", "127.0.0.1:7000"]),
    ("sockets", ["unix:/tmp/a.sock", "unix:/tmp/b.sock", "unix:/run/c.sock"]),
    ("mixed", [("unix:/tmp/a.sock", 3), ("127.0.0.1", 1), ("127.0.0.1:7000", 2), ("[::1]:7000", 1)]),
    ("ten", hosts(10)),
    ("ten-weights", weighted(hosts(10), 1, 1, 2, 3, 5, 8)),
    ("fourteen", ports(14)),
    ("forty", hosts(40)),
    ("hundred", hosts(100)),
    ("hundred-weights", weighted(hosts(100), 4, 1, 2)),
    ("three-hundred", hosts(300)),
]


def config(servers):
    lines = "\n".join(f"server {name} weight={weight} max_fails=0;" for name, weight in servers)
    return f"""pid {folder}/pid; error_log {folder}/error; worker_processes 1; events {{}}
http {{ access_log off; keepalive_requests 100000; large_client_header_buffers 8 64k;
client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
upstream app {{ hash $http_x_key consistent; {lines} }}
server {{ listen unix:{folder}/front.sock; location / {{ proxy_pass http://app; proxy_next_upstream off; add_header X-Asked $upstream_addr always; }} }} }}"""


def asked(text):
    """The address that a server of the list has in answers."""
    return text if text.startswith("unix:") or re.search(r":\d+$", text) and text[-1] != "]" and not text.endswith("::1") else text + ":80"


for name, servers in CASES:
    servers = [(server, 1) if isinstance(server, str) else server for server in servers]
    with open("nginx.conf", "w") as file:
        file.write(config(servers))
    nginx = subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf", "-g", "daemon off;"])
    while True:
        front = socket.socket(socket.AF_UNIX)
        try:
            front.connect(f"{folder}/front.sock")
            break
        except OSError:
            time.sleep(0.02)
    answers = front.makefile("rb")
    by_address = {asked(server): server for server, _ in servers}
    owners = []
    for key in keys("text"):
        front.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Key: " + key + b"\r\n\r\n")
        length, owner = 0, None
        while (line := answers.readline().strip()) != b"":
            field, _, value = line.partition(b": ")
            if field == b"Content-Length":
                length = int(value)
            elif field == b"X-Asked":
                owner = value.decode()
        answers.read(length)
        owners.append(by_address[owner])
    nginx.terminate()
    nginx.wait()
    os.path.exists(f"{folder}/front.sock") and os.remove(f"{folder}/front.sock")
    case(name, servers, owners)

"""Traffic Server 9.2.5 (Debian's `trafficserver`): parents by `round_robin=consistent_hash`, one process with a rule for each case,
before stand-ins for parents that answer with their address.

`python3 trafficserver.py > trafficserver.tsv`. A key becomes the path `/` and the key, in which bytes other than letters, digits and
`/:._-~` are written as `%` and two digits; every third URL has the query `q` and the number of the key too. The setting says whether
the query counts.
"""
import asyncio
import os
import subprocess
import tempfile
import urllib.parse

from common import case, keys

os.chdir(tempfile.mkdtemp())
host = lambda i, port=7000: f"127.0.{1 + i // 200}.{1 + i % 200}:{port}"
hosts = lambda count, weight=lambda i: 1: [(host(i), weight(i)) for i in range(count)]
named = lambda *names: [(host(i), weight, f"hashed={name}") for i, (name, weight) in enumerate(names)]
CASES = [
    ("three", hosts(3)),
    ("one", hosts(1)),
    ("two", hosts(2)),
    ("reversed", hosts(3)[::-1]),
    ("halves", hosts(3, lambda i: (0.5, 1.0, 2.25)[i])),
    ("tenths", hosts(3, lambda i: (0.1, 0.2, 0.7)[i])),
    ("rounded", hosts(4, lambda i: (0.0005, 0.00146484375, 0.9995, 0.99951171875)[i])),
    ("hundred-to-one", hosts(2, lambda i: (100, 1)[i])),
    ("weight-zero", hosts(3, lambda i: (1, 0, 1)[i])),
    ("tiny", hosts(3, lambda i: (1, 0.0004, 1)[i])),
    ("heavy", hosts(2, lambda i: 1000)),
    ("ports", [(host(0, 7000), 1), (host(0, 7001), 1), (host(1), 1)]),
    ("hash-strings", named(("n0", 0.5), ("n1", 1), ("n2", 2.25))),
    ("hash-strings-of-numbers", named(("1", 1), ("11", 1), ("1-1", 1))),
    ("same-hash-string", named(("n0", 1), ("n1", 1), ("n0", 1))),
    ("capitals", named(("Cache", 1), ("cache", 1), ("CACHE", 1))),
    ("five", hosts(5)),
    ("ten", hosts(10)),
    ("ten-weights", hosts(10, lambda i: (1, 1, 2, 3, 5)[i % 5])),
    ("thirty", hosts(30, lambda i: 1 + i % 7 / 4)),
    ("hundred", hosts(100)),
    ("three-hundred", hosts(300)),
]
CASES = [(*one, "query") for one in CASES] + [("path-only", hosts(3), "ignore"), ("path-only-weights", hosts(7, lambda i: 1 + i), "ignore")]
URLS = ["/" + urllib.parse.quote(key, safe="/:._-") + (f"?q={i}" if i % 3 == 0 else "") for i, key in enumerate(keys())]
DIRECTORIES = ("sysconfdir", "datadir", "localstatedir", "runtimedir", "logdir", "cachedir")


def write(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def configure():
    write("runroot.yaml", "prefix: /usr\nexec_prefix: /usr\nbindir: /usr/bin\nsbindir: /usr/sbin\nincludedir: /usr/include\n"
          "libdir: /usr/lib\nlibexecdir: /usr/lib/trafficserver/modules\n" + "".join(f"{name}: {os.getcwd()}/{name}\n" for name in DIRECTORIES))
    for name in DIRECTORIES:
        os.makedirs(name, exist_ok=True)
    write("sysconfdir/records.config", f"""CONFIG proxy.config.http.server_ports STRING 8099:ip-in=127.0.0.1
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.url_remap.remap_required INT 0
CONFIG proxy.config.reverse_proxy.enabled INT 0
CONFIG proxy.config.http.cache.http INT 0
CONFIG proxy.config.http.no_dns_just_forward_to_parent INT 1
CONFIG proxy.config.http.uncacheable_requests_bypass_parent INT 0
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.diags.debug.enabled INT 0
""")
    write("sysconfdir/storage.config", f"{os.getcwd()}/cachedir 64M\n")
    write("sysconfdir/ip_allow.yaml", "ip_allow:\n- apply: in\n  ip_addrs: 127.0.0.1\n  action: allow\n  methods: ALL\n")
    lines = []
    for number, (_, servers, query) in enumerate(CASES):
        parents = ";".join(f"{address}|{weight}" + "".join("&" + field.split("=")[1] for field in more) for address, weight, *more in servers)
        lines.append(f'dest_domain=case{number}.test parent="{parents}" round_robin=consistent_hash go_direct=false qstring='
                     + ("consider" if query == "query" else "ignore") + "\n")
    write("sysconfdir/parent.config", "".join(lines))


async def answer(reader, writer):
    host, port = writer.get_extra_info("sockname")
    body = f"{host}:{port}".encode()
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        writer.close()


async def main():
    for address in sorted({server[0] for _, servers, _ in CASES for server in servers}):
        host, port = address.split(":")
        await asyncio.start_server(answer, host, int(port))
    configure()
    process = await asyncio.create_subprocess_exec(
        "traffic_server", "--run-root=" + os.getcwd() + "/runroot.yaml", stdout=subprocess.DEVNULL, stderr=open("errors", "w"))
    try:
        for _ in range(300):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", 8099)
                break
            except OSError:
                await asyncio.sleep(0.1)
        for number, (name, servers, query) in enumerate(CASES):
            addresses = [server[0] for server in servers]
            owners = []
            for url in URLS:
                writer.write(f"GET http://case{number}.test{url} HTTP/1.1\r\nHost: case{number}.test\r\n\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                length = next(int(line.split(":")[1]) for line in head if line.lower().startswith("content-length"))
                body = (await reader.readexactly(length)).decode()
                assert " 200 " in head[0], (name, url, head, body)
                owners.append(addresses.index(body))
            case(name, servers, owners, query)
    finally:
        process.terminate()
        await process.wait()


asyncio.run(main())

"""twemproxy 0.5.0 (Debian's `nutcracker`): one process with a pool for each case, before stand-ins for Redis that answer any command
with the name of their server. They listen on addresses of the loopback, some at memcached's own port.

`python3 twemproxy.py ketama > twemproxy.tsv`, `python3 twemproxy.py modula > twemproxy-modula.tsv`
"""
import asyncio
import os
import subprocess
import sys
import tempfile

from common import case, keys

os.chdir(tempfile.mkdtemp())
host = lambda i, port=7000: f"127.0.{1 + i // 200}.{1 + i % 200}:{port}"
named = lambda count, weight=lambda i: 1: [(f"s{i}", weight(i), f"address={host(i)}") for i in range(count)]
four = [(f"name{i}", weight, f"address={host(i)}") for i, weight in enumerate((1, 2, 5, 3))]
CASES = [("default", four, "fnv1a_64", "")]
CASES += [(hash, four, hash, "") for hash in (
    "one_at_a_time", "md5", "crc16", "crc32", "crc32a", "fnv1_64", "fnv1_32", "fnv1a_32", "murmur", "jenkins", "hsieh")]
CASES += [
    ("one", named(1), "md5", ""),
    ("equal", named(3), "md5", ""),
    ("equal-heavy", named(3, lambda i: 1000), "md5", ""),
    ("share-too-small", named(2, lambda i: (1000, 1)[i]), "md5", ""),
    ("hundred-to-one", named(3, lambda i: (100, 1, 1)[i]), "md5", ""),
    ("unnamed", [(host(i), 1) for i in range(3)], "md5", ""),
    ("default-port", [(host(i, 11211), 1 + i) for i in range(3)], "md5", ""),
    ("mixed-ports", [(host(0, 11211), 1), (host(0), 1), (host(1, 11211), 2), ("s9", 1, f"address={host(2, 11211)}")], "fnv1a_64", ""),
    ("named-as-default-port", [(f"c{i}:11211", 1, f"hashed=c{i}:11211", f"address={host(i)}") for i in range(3)], "md5", ""),
    ("sockets", [(f"{os.getcwd()}/{i}.sock", 1 + i) for i in range(3)], "md5", ""),
    ("tag-braces", named(5), "md5", "{}"),
    ("tag-dollars", named(5), "fnv1a_64", "$$"),
    ("tag-colon", named(5), "fnv1a_64", ":}"),
    ("thirty", named(30, lambda i: 1 + i % 7), "murmur", ""),
    ("three-hundred", named(300), "md5", ""),
]
if sys.argv[1] == "modula":
    CASES = [case for case in CASES if case[0] not in ("equal-heavy", "three-hundred")]
    CASES += [("thousand-to-one", named(2, lambda i: (1, 1000)[i]), "murmur", ""), ("hundred", named(100), "fnv1a_64", "")]
lines = []
for number, (_, servers, hash, tag) in enumerate(CASES):
    lines += [f"case{number}:", f"  listen: {os.getcwd()}/case{number}.sock", f"  hash: {hash}", f"  distribution: {sys.argv[1]}", "  redis: true"]
    lines += [f'  hash_tag: "{tag}"'] if tag else []
    lines += ["  servers:"]
    for name, weight, *more in servers:
        address = dict(field.split("=") for field in more).get("address")
        lines.append(f"   - {address}:{weight} {name}" if address else f"   - {name}:{weight}")
with open("nutcracker.yml", "w") as file:
    file.write("\n".join(lines) + "\n")


async def answer(reader, writer, name):
    try:
        while True:
            count = int((await reader.readline())[1:])
            for _ in range(count):
                length = int((await reader.readline())[1:])
                await reader.readexactly(length + 2)
            writer.write(b"$%d\r\n%s\r\n" % (len(name), name))
    except (ValueError, asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        writer.close()


async def main():
    started = set()
    for _, servers, _, _ in CASES:
        for name, _, *more in servers:
            address = dict(field.split("=") for field in more).get("address", name)
            if address in started:
                continue
            started.add(address)
            serve = lambda r, w, address=address: answer(r, w, address.encode())
            if address.startswith("/"):
                await asyncio.start_unix_server(serve, address)
            else:
                ip, port = address.split(":")
                await asyncio.start_server(serve, ip, int(port))
    process = await asyncio.create_subprocess_exec("nutcracker", "-c", "nutcracker.yml", "-s", "28222", stderr=subprocess.DEVNULL)
    try:
        for number, (name, servers, hash, tag) in enumerate(CASES):
            for _ in range(100):
                try:
                    reader, writer = await asyncio.open_unix_connection(f"case{number}.sock")
                    break
                except OSError:
                    await asyncio.sleep(0.1)
            addresses = [dict(field.split("=") for field in more).get("address", name) for name, _, *more in servers]
            owners = []
            for key in keys("binary"):
                writer.write(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key))
                length = (await reader.readline())[1:]
                owners.append(addresses.index((await reader.readexactly(int(length) + 2))[:-2].decode()))
            shown = [tuple(field for field in server if not str(field).startswith("address=")) for server in servers]
            shown = [tuple(str(field).replace(os.getcwd(), "/run") for field in server) for server in shown]
            if "sockets" != name:
                case(name, shown, owners, hash, tag)
            else:
                # The path is part of what is hashed; it is that of the folder in which the recipe ran.
                case(name, [tuple(map(str, server)) for server in servers], owners, hash, tag)
            writer.close()
    finally:
        process.terminate()


asyncio.run(main())

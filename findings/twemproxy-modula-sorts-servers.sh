#!/usr/bin/env bash
# twemproxy 0.5.0 (Debian 12, `nutcracker`), `distribution: modula`.
# One would think: a key goes to the server at the place (hash modulo the number of servers) of the list, as with the clients that twemproxy
# stands in for; to share keys with such a client, both get the same list.
# It is: the servers are sorted by their names first, shorter names before longer ones. The order of the configuration does not count, and a
# new name for one server moves the keys of others. A server without a name is called `host`, or `host:port` for ports other than 11211.
# Seen: of 1000 keys on cache, db and a2, in this order and by md5, 295 go where the list says. With the list turned round none moves. When
# cache is called `c`, all 1000 move, 295 of them between the other two.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download nutcracker libyaml-0-2 >/dev/null 2>&1
for package in *.deb; do dpkg-deb -x "$package" root; done
LD_LIBRARY_PATH=$(echo "$folder"/root/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH
python3 - <<'PYTHON'
import asyncio
import hashlib
import os
import subprocess

NUTCRACKER = "root/usr/sbin/nutcracker"
print(subprocess.run([NUTCRACKER, "-V"], capture_output=True, text=True).stderr.split("\n")[0])
CACHE, DB, A2 = ("cache", "127.0.0.1:7301"), ("db", "127.0.0.1:7302"), ("a2", "127.0.0.1:7303")
POOLS = {"listed": [CACHE, DB, A2], "turned": [A2, DB, CACHE], "renamed": [("c", CACHE[1]), DB, A2]}
KEYS = [f"user:{i}" for i in range(1000)]
lines = []
for pool, servers in POOLS.items():
    lines += [f"{pool}:", f"  listen: {os.getcwd()}/{pool}.sock", "  hash: md5", "  distribution: modula", "  redis: true", "  servers:"]
    lines += [f"   - {address}:1 {name}" for name, address in servers]
with open("nutcracker.yml", "w") as file:
    file.write("\n".join(lines) + "\n")


async def answer(reader, writer):
    port = b"%d" % writer.get_extra_info("sockname")[1]
    try:
        while await reader.readuntil(b"\r\nGET\r\n"):
            await reader.readline()
            await reader.readline()
            writer.write(b"$%d\r\n%s\r\n" % (len(port), port))
    except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        writer.close()


async def main():
    for _, address in (CACHE, DB, A2):
        await asyncio.start_server(answer, "127.0.0.1", int(address.split(":")[1]))
    process = await asyncio.create_subprocess_exec(NUTCRACKER, "-c", "nutcracker.yml", "-s", "28233", stderr=subprocess.DEVNULL)
    try:
        placed = {}
        for pool in POOLS:
            for _ in range(100):
                try:
                    reader, writer = await asyncio.open_unix_connection(f"{pool}.sock")
                    break
                except OSError:
                    await asyncio.sleep(0.1)
            placed[pool] = []
            for key in KEYS:
                writer.write(f"*2\r\n$3\r\nGET\r\n${len(key)}\r\n{key}\r\n".encode())
                await reader.readline()
                placed[pool].append("127.0.0.1:" + (await reader.readline()).decode().strip())
            writer.close()
    finally:
        process.terminate()
        await process.wait()
    return placed


placed = asyncio.run(main())
listed = [address for _, address in POOLS["listed"]]
by_list = [listed[int.from_bytes(hashlib.md5(key.encode()).digest()[:4], "little") % 3] for key in KEYS]
changed = lambda one, other: sum(a != b for a, b in zip(one, other))
between = sum(a != b and CACHE[1] not in (a, b) for a, b in zip(placed["listed"], placed["renamed"]))
print(len(KEYS) - changed(placed["listed"], by_list), "keys go where the list says")
print(changed(placed["listed"], placed["turned"]), "move when the list is turned round")
print(changed(placed["listed"], placed["renamed"]), "move when cache is called c,", between, "of them between the other two")
PYTHON

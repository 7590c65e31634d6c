#!/usr/bin/env bash
# libketama, as PyPI's ketama 0.1.1 compiles it.
# One would think: a list of servers may have any length, and a server any name.
# It is: the ring lies in a piece of shared memory of fixed size, with room for about 18,700 points of 28 bytes, which is not checked. From 118
# servers of equal weight on it is overrun, and the process dies. A name has 22 bytes, the last of which is zero: a longer one runs into the
# next point, and the owner of a key is read as bytes that are none of the names.
# Seen: 117 servers are served, with 118 the process gets SIGSEGV. A server of 22 letters is returned as a text that is not in the list.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
timeout 300 python/bin/pip install --quiet --disable-pip-version-check ketama==0.1.1
timeout 100 python/bin/python - <<'PYTHON'
import os
import signal

import ketama


def owners(name, servers):
    """The owners of 2,000 keys, from a process of its own; the signal that ended it if it died."""
    with open(name, "w") as file:
        file.write("".join(f"{server}\t1\n" for server in servers))
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reader)
        ring = ketama.Ketama(name)
        found = set()
        for number in range(2000):
            try:
                found.add(ring.get_server(f"user:{number}".encode())[1])
            except UnicodeDecodeError:
                found.add("bytes that are no text")
        os.write(writer, "\n".join(found).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    status = os.waitpid(child, 0)[1]
    return signal.Signals(status).name if status else set(text.split("\n"))


for count in (117, 118):
    found = owners(f"{count}", [f"10.0.0.{number}:11211" for number in range(count)])
    print(f"{count} servers:", found if isinstance(found, str) else f"{len(found)} have keys")
for length in (21, 22):
    servers = ["x" * length, "y" * length]
    found = owners(f"names-{length}", servers)
    print(f"names of {length} bytes:", found if isinstance(found, str) else "owners of the list" if found <= set(servers) else "owners that are not in the list")
PYTHON

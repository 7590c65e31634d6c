#!/usr/bin/env bash
# pymemcache 4.0.0 (PyPI), RendezvousHash and HashClient.
# One would think: b"user:1" and "user:1" are one key, since both are stored under the same bytes.
# It is: the text that Python prints of bytes is hashed, quotation marks included, so that most keys have another server as bytes
# than as text. Services that share a cache and differ in this do not find each other's values.
# Seen: of 1,000 keys on three servers 667 differ.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet --disable-pip-version-check pymemcache==4.0.0
"$folder/python/bin/python" - <<'PYTHON'
from pymemcache.client.hash import HashClient
from pymemcache.client.rendezvous import RendezvousHash

servers = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211"]
keys = [f"user:{number}" for number in range(1000)]
rendezvous = RendezvousHash(servers)
differ = sum(rendezvous.get_node(key) != rendezvous.get_node(key.encode()) for key in keys)
print(f"keys with another server as bytes: {differ} of {len(keys)}")
as_printed = all(rendezvous.get_node(key.encode()) == rendezvous.get_node(f"b'{key}'") for key in keys)
print(f"bytes are placed as the text that Python prints of them: {as_printed}")
client = HashClient(servers)
of_client = sum(client._get_client(key).server != client._get_client(key.encode()).server for key in keys)
print(f"the same through HashClient: {of_client} of {len(keys)}")
raise SystemExit(0 if (differ, as_printed) == (667, True) and of_client > 500 else 1)
PYTHON

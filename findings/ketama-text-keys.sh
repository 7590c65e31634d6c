#!/usr/bin/env bash
# ketama 0.1.1 (PyPI), which compiles libketama.
# One would think: a text is hashed as its UTF-8, as a client in any other language hashes it.
# It is: as many bytes are hashed as the text has characters, so that the end of a text beyond ASCII does not count. Keys that differ
# there have one server: nearly all load goes to one, and other clients look for the keys elsewhere.
# Seen: of 1,000 keys in Cyrillic letters on three equal servers 910 are on one and none on another; 681 have another server as
# bytes. ASCII keys agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet --disable-pip-version-check ketama==0.1.1
printf '10.0.0.1:11211\t100\n10.0.0.2:11211\t100\n10.0.0.3:11211\t100\n' >"$folder/servers"
"$folder/python/bin/python" - "$folder/servers" <<'PYTHON'
import collections
import sys

import ketama

ring = ketama.Ketama(sys.argv[1])
owner = lambda key: ring.get_server(key)[1]
beyond_ascii = [f"ключ:{number}" for number in range(1000)]
ascii_only = [f"user:{number}" for number in range(1000)]
loads = sorted(collections.Counter(map(owner, beyond_ascii)).values())
differ = [sum(owner(key) != owner(key.encode()) for key in keys) for keys in (beyond_ascii, ascii_only)]
print(f"keys on each server that has any: {loads}")
print(f"keys with another server as bytes: {differ[0]}, of ASCII keys {differ[1]}")
raise SystemExit(0 if (loads, differ) == ([90, 910], [681, 0]) else 1)
PYTHON

"""Keys, digests and the form of the tables, for the recipes beside this file.

A table holds cases. Each is made of lines of fields with tabs between:

    case    name, then the settings of the system
    server  name, weight, and, where there are such, `id=NUMBER` and `hashed=TEXT`
    owners  a digest of the owners of all keys, and the owner of every 125th key

An owner is written as the place of its server in the case, the first of those with its name. The digest is FNV-1a of 64 bits over the
owners, each followed by a new line.
"""

MASK = (1 << 64) - 1


def _random(seed, count):
    """Bytes of SplitMix64."""
    out = b""
    index = 0
    while len(out) < count:
        z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        out += (z ^ (z >> 31)).to_bytes(8, "little")
        index += 1
    return out[:count]


def keys(kind="text"):
    """2,000 keys. Of `text` the last 500 are of random printable characters, of `ascii` there are no others, of `binary` the last 500
    are any bytes, the first of them none."""
    for i in range(2000):
        if i < 600:
            key = f"user:{i}".encode()
        elif i < 900:
            key = str(7919 * i).encode()
        elif i < 1100:
            key = (f"/pictures/{i}/large.jpg" if kind == "ascii" else f"/картинки/{i}/大.jpg").encode()
        elif i < 1300:
            key = f"{{tag{i % 7}}}:{i}".encode()
        elif i < 1500:
            key = b"x" * (i - 1299)
        elif kind == "binary":
            key = _random(i, (i - 1500) % 40)
        else:
            key = bytes(33 + byte % 94 for byte in _random(i, 1 + (i - 1500) % 40))
        yield key


def digest(owners):
    hash = 0xCBF29CE484222325
    for byte in "".join(f"{owner}\n" for owner in owners).encode():
        hash = (hash ^ byte) * 0x100000001B3 & MASK
    return f"{hash:016x}"


def case(name, servers, owners, *settings):
    """Prints a case. A server is its name, or a name with a weight and more fields."""
    print("case", name, *settings, sep="\t")
    servers = [(server, 1) if isinstance(server, str) else server for server in servers]
    for server in servers:
        print("server", *server, sep="\t")
    names = [server[0] for server in servers]
    places = [owner if isinstance(owner, int) else names.index(owner) for owner in owners]
    assert len(places) == 2000, len(places)
    print("owners", digest(places), *places[::125], sep="\t", flush=True)

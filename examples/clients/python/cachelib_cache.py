"""cachelib: the cache under Flask-Caching."""
import sys

from cachelib import RedisCache

cache = RedisCache(port=int(sys.argv[1]), key_prefix="c:")
assert cache.set("a", [1, 2], 60) and cache.get("a") == [1, 2]
assert cache.add("b", "x", 60) and not cache.add("b", "y", 60)
assert cache.set_many({"d": 1, "e": 2}, 60) and cache.get_many("d", "e", "f") == [1, 2, None]
assert cache.inc("d", 4) == 5 and cache.dec("d", 1) == 4
assert cache.has("a") and cache.delete("a") and not cache.has("a")
assert cache.clear() and cache.get("b") is None

"""django-redis: patterns, time to live, locks and compressed values."""
import sys

import django
from django.conf import settings

settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{sys.argv[1]}/0",
            "OPTIONS": {"COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"},
        }
    }
)
django.setup()
from django.core.cache import cache

cache.set_many({f"page:{number}": "x" * 1000 for number in range(20)}, 60)
assert len(cache.keys("page:*")) == 20 and len(list(cache.iter_keys("page:1*"))) == 11
assert cache.ttl("page:1") == 60 and cache.persist("page:1") and cache.ttl("page:1") is None
assert cache.incr_version("page:2") == 2 and cache.get("page:2", version=2) == "x" * 1000
assert cache.delete_pattern("page:*") == 19
with cache.lock("door", timeout=5):
    assert not cache.lock("door", timeout=5).acquire(blocking=False)
assert cache.lock("door", timeout=5).acquire(blocking=False)
cache.clear()
assert cache.get("page:1") is None

"""Django's own Redis cache, and sessions kept in it."""
import sys

import django
from django.conf import settings

settings.configure(
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{sys.argv[1]}",
        }
    },
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
)
django.setup()
from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import cache

cache.set("a", {"x": 1}, 60)
assert cache.get("a") == {"x": 1}
assert not cache.add("a", 2) and cache.add("b", 2, 60)
assert cache.incr("b", 5) == 7
cache.set_many({"c": 1, "d": 2}, 60)
assert cache.get_many(["a", "b", "c", "d", "e"]) == {"a": {"x": 1}, "b": 7, "c": 1, "d": 2}
assert cache.touch("c", 30) and cache.delete("c")
cache.delete_many(["d"])
assert cache.get("c") is None and cache.get("d") is None
session = SessionStore()
session["user"] = 7
session.save()
assert SessionStore(session.session_key)["user"] == 7
cache.clear()
assert cache.get("a") is None

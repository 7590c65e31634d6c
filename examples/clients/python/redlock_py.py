"""redlock-py: a lock that one owner has."""
import sys

from redlock import Redlock

locks = Redlock([{"host": "127.0.0.1", "port": int(sys.argv[1]), "db": 0}])
lock = locks.lock("door", 10_000)
assert lock and not locks.lock("door", 1_000)
locks.unlock(lock)
again = locks.lock("door", 10_000)
assert again
locks.unlock(again)

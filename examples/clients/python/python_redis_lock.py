"""python-redis-lock: locks that wait, expire and are renewed."""
import sys
import threading

import redis_lock
from redis import Redis

store = Redis(port=int(sys.argv[1]))
first = redis_lock.Lock(store, "door", expire=20, auto_renewal=True)
second = redis_lock.Lock(store, "door", expire=20)
assert first.acquire() and not second.acquire(blocking=False)
waiter = threading.Thread(target=second.acquire)
waiter.start()
first.release()
waiter.join(20)
assert not waiter.is_alive() and second.get_owner_id() == second.id
second.extend(30)
second.release()
redis_lock.reset_all(store)
assert not redis_lock.Lock(store, "door").locked()

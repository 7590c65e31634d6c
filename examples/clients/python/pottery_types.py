"""pottery: Python's containers, an id generator, a lock, a Bloom filter and a counter of distinct items."""
import sys

from pottery import BloomFilter, HyperLogLog, NextID, RedisCounter, RedisDeque, RedisDict, RedisList, RedisSet, Redlock
from redis import Redis

store = Redis(port=int(sys.argv[1]))
shelf = RedisDict({"a": 1}, redis=store, key="shelf")
shelf["b"] = [2]
assert dict(shelf) == {"a": 1, "b": [2]} and shelf.pop("a") == 1
numbers = RedisList([3, 1, 2], redis=store, key="numbers")
numbers.sort()
assert list(numbers) == [1, 2, 3] and numbers[-1] == 3
colours = RedisSet({"red", "blue"}, redis=store, key="colours")
colours.discard("red")
assert "red" not in colours and colours == {"blue"}
line = RedisDeque([1, 2], redis=store, key="line", maxlen=2)
line.append(3)
assert list(line) == [2, 3]
counts = RedisCounter("abca", redis=store, key="counts")
assert counts.most_common(1) == [("a", 2)]
ids = NextID(key="ids", masters={store})
first = next(ids)
assert next(ids) == first + 1
seen = BloomFilter(num_elements=100, false_positives=0.01, redis=store, key="seen")
seen.update({"x", "y"})
assert "x" in seen and "z" not in seen
distinct = HyperLogLog("abc", redis=store, key="distinct")
assert len(distinct) == 3
lock = Redlock(key="door", masters={store}, auto_release_time=5)
assert lock.acquire() and lock.locked()
lock.release()

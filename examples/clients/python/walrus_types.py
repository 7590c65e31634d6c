"""walrus: containers, a model with an index, a cache, a lock, a rate limit."""
import sys

from walrus import Database, IntegerField, Model, TextField

store = Database(port=int(sys.argv[1]))
shelf, queue, tags, scores = store.Hash("shelf"), store.List("queue"), store.Set("tags"), store.ZSet("scores")
shelf.update(a=1, b=2)
queue.extend("xyz")
tags.add(1, 2, 3)
scores.add({"ann": 3, "bob": 1})
assert shelf["a"] == b"1" and queue[1] == b"y" and len(tags & tags) == 3 and [n for n, _ in scores] == [b"bob", b"ann"]


class Person(Model):
    __database__ = store
    name = TextField(primary_key=True)
    age = IntegerField(index=True)


for name, age in ("ann", 30), ("bob", 40), ("cyd", 50):
    Person.create(name=name, age=age)
assert [person.name for person in Person.query(Person.age > 35, order_by=Person.age)] == ["bob", "cyd"]
Person.load("bob").delete()
assert len(list(Person.query(Person.age > 35))) == 1
cache = store.cache()
assert cache.set("k", "v", 10) and cache.get("k") == "v"
limit = store.rate_limit("visits", limit=2, per=60)
assert [limit.limit("ann") for _ in range(3)] == [False, False, True]
with store.lock("door", ttl=10_000):
    assert not store.lock("door", ttl=10_000).acquire(block=False)

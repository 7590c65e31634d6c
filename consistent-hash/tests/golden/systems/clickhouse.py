"""ClickHouse 26.9, in PyPI's `chdb` 4.4: sharding keys of its hash functions, and `jumpConsistentHash`.

`python3 clickhouse.py > clickhouse.tsv`. The settings of a case are the function and the number of shards or buckets. A Distributed table
takes the sharding key modulo the sum of its shards' weights; the function `modulo` here stands for that.
"""
from chdb import session

from common import case, keys

COUNTS = (1, 2, 3, 5, 7, 10, 16, 100, 1000, 32768)
database = session.Session()
database.query("CREATE DATABASE d ENGINE = Atomic")
database.query("CREATE TABLE d.k (i UInt32, k String) ENGINE = Memory")
rows = [f"({i}, unhex('{key.hex()}'))" for i, key in enumerate(keys("binary"))]
for start in range(0, 2000, 500):
    database.query("INSERT INTO d.k VALUES " + ",".join(rows[start:start + 500]))


def numbers(expression):
    text = database.query(f"SELECT {expression} FROM d.k ORDER BY i", "TSV").bytes().decode()
    return [int(line) for line in text.split("\n")[:-1]]


for count in COUNTS:
    case(f"siphash-{count}", [], numbers(f"sipHash64(k) % {count}"), "siphash", count)
    case(f"jump-{count}", [], numbers(f"jumpConsistentHash(sipHash64(k), {count})"), "jump", count)
    case(f"kafka-{count}", [], numbers(f"kafkaMurmurHash(k) % {count}"), "kafka", count)
for width in (8, 16, 32, 64):
    case(f"siphash-of-{width}-bits", [], numbers(f"sipHash64(CAST(i * 7919 AS UInt{width})) % 1000"), f"siphash-{width}", 1000)

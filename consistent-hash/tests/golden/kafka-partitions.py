#!/usr/bin/env python3
"""Prints `kafka.tsv`: `kafka-partitions.py FILE`, where the file has the 476 keys."""

import random
import sys

from confluent_kafka import Producer
from kafka.partitioner.default import DefaultPartitioner

random.seed(7)
keys = [line.encode() for line in open(sys.argv[1]).read().split("\n")[:-1]]
keys += [bytes(random.randrange(256) for _ in range(1 + number % 40)) for number in range(124)]


def by_librdkafka(partitioner):
    settings = {"test.mock.num.brokers": 1, "bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    producer = Producer({**settings, "partitioner": partitioner})
    chosen = {}
    for key in keys:
        note = lambda error, record: chosen.update({record.key(): record.partition()})
        producer.produce("topic", key=key, value=b"", callback=note)
    producer.flush(60)
    return chosen


tables = [by_librdkafka(name) for name in ("consistent", "murmur2", "fnv1a")]
by_murmur = DefaultPartitioner()
for key in keys:
    own = [by_murmur(key, list(range(count)), list(range(count))) for count in (10, 997)]
    print(key.hex(), *own, *(table[key] for table in tables), sep="\t")

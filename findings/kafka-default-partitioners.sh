#!/usr/bin/env bash
# kafka-python 2.0.2 and confluent-kafka 2.5.3, which is librdkafka (both PyPI), each with its default partitioner.
# One would think: a key has one partition, so that its records keep their order and joins find both sides.
# It is: kafka-python hashes by murmur2, as the Java client does, librdkafka by CRC-32. Producers of both kinds on one topic spread a key
# over two partitions.
# Seen: of 200 keys on a topic of four partitions 144 differ.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install --quiet --disable-pip-version-check kafka-python==2.0.2 confluent-kafka==2.5.3
"$folder/python/bin/python" - <<'PYTHON'
import zlib

from confluent_kafka import Producer
from kafka.partitioner.default import DefaultPartitioner

keys = [f"user:{number}" for number in range(200)]
partitions = list(range(4))
# The producer brings a broker of its own for trials; its topics have four partitions.
producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "127.0.0.1:1", "log_level": 0})
chosen = {}
for key in keys:
    producer.produce("topic", key=key, value=b"", callback=lambda error, record: chosen.update({record.key(): record.partition()}))
producer.flush(60)
by_murmur = DefaultPartitioner()
differ = sum(chosen[key.encode()] != by_murmur(key.encode(), partitions, partitions) for key in keys)
by_crc = all(chosen[key.encode()] == zlib.crc32(key.encode()) % len(partitions) for key in keys)
print(f"keys with another partition: {differ} of {len(keys)}")
print(f"librdkafka's default is CRC-32: {by_crc}")
raise SystemExit(0 if (differ, by_crc) == (144, True) else 1)
PYTHON

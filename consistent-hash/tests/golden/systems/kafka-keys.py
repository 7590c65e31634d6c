"""Kafka's partitioners: Java's as PyPI's `kafka-python` 3.0 has it, and those of librdkafka 2.16 (in PyPI's `confluent-kafka` 2.16.1)
through its C interface; `fnv1a` is Sarama's.

`python3 kafka-keys.py > kafka.tsv`. The settings of a case are the partitioner and the number of partitions.
"""
import ctypes
import glob
import importlib.util
import os

from kafka.partitioner.default import DefaultPartitioner

from common import case, keys

folder = os.path.dirname(os.path.dirname(importlib.util.find_spec("confluent_kafka").origin))
for path in sorted(glob.glob(f"{folder}/confluent_kafka.libs/*.so*"), key=lambda path: "rdkafka" in path):
    try:
        library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        pass
COUNTS = (1, 2, 3, 4, 7, 10, 100, 997)


def by_librdkafka(name, count):
    function = getattr(library, f"rd_kafka_msg_partitioner_{name}")
    function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p]
    function.restype = ctypes.c_int32
    return lambda key: function(None, key, len(key), count, None, None)




class Cluster:
    """What the partitioner asks of a cluster with one topic."""

    def __init__(self, count):
        self.count = count

    def topics(self):
        return {"topic"}

    def partitions_for_topic(self, topic):
        return set(range(self.count))

    available_partitions_for_topic = partitions_for_topic


java = DefaultPartitioner()
for count in COUNTS:
    cluster = Cluster(count)
    case(f"java-{count}", [], [java.partition("topic", None, key, None, b"", cluster) for key in keys("binary")], "java", count)
    for name in ("consistent", "murmur2", "fnv1a"):
        place = by_librdkafka(name, count)
        case(f"{name}-{count}", [], [place(key) for key in keys("binary")], name, count)

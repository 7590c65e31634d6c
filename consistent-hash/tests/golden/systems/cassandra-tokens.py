"""Cassandra's partitioner in PyPI's `cassandra-driver` 3.30.1. The owner is the token, as 64 bits without a sign.

`python3 cassandra-tokens.py > cassandra.tsv`. A case says how many bytes of 0xFF stand before each key, and 20 of them cover every length of the
part that is taken as signed.
"""
from cassandra.metadata import Murmur3Token

from common import case, keys

for before in range(20):
    owners = [Murmur3Token.hash_fn(b"\xff" * before + key) & (1 << 64) - 1 for key in keys("binary")]
    case(f"before-{before}", [], owners, before)

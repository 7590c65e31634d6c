#!/usr/bin/env python3
"""Placement as the documentation specifies it, read anew in another language: the owners that `stability.rs` pins.

Needs PyPI's `xxhash`. One line an algorithm: ring, rendezvous, Maglev, jump, JumpBack.
"""

import bisect

import xxhash

NODES = ["a", "b", "c", "d", "e"]
KEYS = ["", "a", "user:1", "user:2", "user:3"]
MASK = (1 << 64) - 1


def hashed(text):
    return xxhash.xxh64(text.encode()).intdigest()


def fold(a, b):
    product = a * b
    return (product & MASK) ^ (product >> 64)


def splitmix(seed, index):
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def ring(key):
    tokens = sorted((splitmix(hashed(node), i), node) for node in NODES for i in range(160))
    return tokens[bisect.bisect_left(tokens, (hashed(key), "")) % len(tokens)][1]


def rendezvous(key):
    return max(NODES, key=lambda node: fold(hashed(key) ^ hashed(node), splitmix(hashed(node), 0) | 1))


def maglev(key, size=65537):
    table, left = [None] * size, size
    wanted = {node: hashed(node) % size for node in NODES}
    while left:
        for node in NODES[:left]:
            step = 1 + splitmix(hashed(node), 0) % (size - 1)
            while table[wanted[node]] is not None:
                wanted[node] = (wanted[node] + step) % size
            table[wanted[node]] = node
            left -= 1
    return table[hashed(key) * size >> 64]


def jump(key):
    state, bucket, following = hashed(key), 0, 0
    while following < len(NODES):
        bucket = following
        state = (state * 2862933555777941757 + 1) & MASK
        following = int((bucket + 1) * (float(1 << 31) / float((state >> 33) + 1)))
    return NODES[bucket]


def jump_back(key):
    buckets, words = len(NODES), 0
    first = fold(hashed(key) ^ 0x2545F4914F6CDD1D, 0x9FB21C651E98DF25)
    active = (first ^ (first >> 32)) & ((1 << (buckets - 1).bit_length()) - 1)
    while active:
        q = 1 << (active.bit_length() - 1)
        bucket = q + ((first >> (active.bit_count() % 2 * 32)) & (q - 1))
        while bucket >= q:
            if bucket < buckets:
                return NODES[bucket]
            word = splitmix(first, words // 2)
            bucket = (word >> (words % 2 * 32)) & (2 * q - 1)
            words += 1
        words += words % 2
        active ^= q
    return NODES[0]


for algorithm in ring, rendezvous, maglev, jump, jump_back:
    print([algorithm(key) for key in KEYS])

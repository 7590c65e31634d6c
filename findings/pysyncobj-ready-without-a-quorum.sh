#!/usr/bin/env bash
# pysyncobj 0.3.17 (PyPI), three nodes on loopback, two of which stop.
# One would think: a leader that has lost its quorum steps down within an election time-out (at most 1.4 seconds by default), isReady()
# ("synced with others and has an actual data") becomes false, and the callback of a command that cannot be decided gets a reason.
# It is: it goes on as leader for leaderFallbackTimeout, 30 seconds by default, meant for exactly this case. isReady() stays true even
# afterwards, and no callback comes: not for the command that was under way, nor for one given without a leader. A health check by isReady()
# keeps sending requests to a node that can decide nothing, and code that waits for the callback waits on. Only getStatus() tells
# (has_quorum), and only sync=True with a timeout ends.
# Seen (leaderFallbackTimeout 5 seconds): 3 seconds after the loss still leader; 10 seconds after it has stepped down ready, no quorum, no
# callback of either command; a call with sync=True and a timeout raises Timeout.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
timeout 300 "$folder/python/bin/pip" install --quiet --disable-pip-version-check pysyncobj==0.3.17
timeout 240 "$folder/python/bin/python" - <<'PYTHON'
import socket
import time

from pysyncobj import SyncObj, SyncObjConf, SyncObjException
from pysyncobj.batteries import ReplCounter


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise SystemExit("waited for a minute")


frees = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
names = [f"127.0.0.1:{free.getsockname()[1]}" for free in frees]
for free in frees:
    free.close()
counters = [ReplCounter() for _ in names]
nodes = []
for name, counter in zip(names, counters):
    others = [other for other in names if other != name]
    nodes.append(SyncObj(name, others, SyncObjConf(leaderFallbackTimeout=5.0), consumers=[counter]))
wait_for(lambda: all(node.isReady() for node in nodes) and any(node._isLeader() for node in nodes))
leader, counter = next((node, counter) for node, counter in zip(nodes, counters) if node._isLeader())
assert counter.inc(sync=True, timeout=30) == 1
for node in nodes:
    if node is not leader:
        node.destroy()
called = []
counter.inc(callback=lambda *answer: called.append(answer))
time.sleep(3)
still = leader._isLeader()
print(f"3 seconds after the loss: leader {still}")
wait_for(lambda: not leader._isLeader())
counter.inc(callback=lambda *answer: called.append(answer))
time.sleep(10)
ready, quorum = leader.isReady(), leader.getStatus()["has_quorum"]
print(f"10 seconds after it has stepped down: ready {ready}, quorum {quorum}, callbacks {len(called)} of 2")
try:
    counter.inc(sync=True, timeout=3)
    outcome = "done"
except SyncObjException as error:
    outcome = error.errorCode
print(f"with sync=True and a timeout: {outcome}")
leader.destroy()
assert (still, ready, quorum, called, outcome) == (True, True, False, [], "Timeout")
PYTHON

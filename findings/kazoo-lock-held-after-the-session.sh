#!/usr/bin/env bash
# kazoo 2.11.0 (PyPI) over ZooKeeper 3.8.0 (Debian 12): Lock and Semaphore whose session has expired.
# One would think: is_acquired says whether the lock is held, as far as the client knows. When the client has heard that its session is
# lost (state LOST), ZooKeeper has removed the lock's node, so is_acquired is False.
# It is: is_acquired stays True, after LOST, after the new connection, and while another client holds the lock. release() then answers
# True. Code that asks is_acquired before it writes writes beside the new holder; only a listener for LOST tells.
# Seen: states SUSPENDED, LOST, CONNECTED; both clients say that they hold the lock, and both that they hold the semaphore's one lease.
set -euo pipefail
folder=$(mktemp -d)
trap '[ -z "${server:-}" ] || { kill "$server" && wait "$server"; } || true; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
command -v java >/dev/null || { echo "java is missing: install a JRE" >&2; exit 2; }
apt-get download libzookeeper-java libnetty-java libslf4j-java libsnappy-java libdropwizard-metrics-java libcommons-cli-java >/dev/null 2>&1
version=$(dpkg-deb -f libzookeeper-java_*.deb Version)
for package in *.deb; do dpkg-deb -x "$package" root; done
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > zoo.cfg <<CONFIG
dataDir=$folder/data
clientPort=$port
clientPortAddress=127.0.0.1
tickTime=500
admin.enableServer=false
CONFIG
jars=$(printf "$folder/root/usr/share/java/%s.jar:" zookeeper zookeeper-jute slf4j-api slf4j-nop netty-all netty-handler netty-buffer \
    netty-common netty-transport netty-codec netty-resolver metrics-core snappy-java commons-cli)
timeout 300 java -Xmx256m -cp "$jars" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >log 2>&1 &
server=$!
python3 -m venv python
timeout 300 python/bin/pip install --quiet --disable-pip-version-check kazoo==2.11.0
echo "ZooKeeper $version"
timeout 120 python/bin/python - "$port" <<'PYTHON'
import logging
import sys
import threading

from kazoo.client import KazooClient

logging.disable(logging.CRITICAL)


def client(**more):
    made = KazooClient(f"127.0.0.1:{sys.argv[1]}", timeout=20, **more)
    made.start(timeout=60)
    return made


one, two = client(), client()
states, back = [], threading.Event()


def listen(state):
    states.append(state)
    if state == "CONNECTED":
        back.set()


one.add_listener(listen)


def expire(its):
    """Ends the session as ZooKeeper allows it: somebody else takes it over and closes it."""
    back.clear()
    client(client_id=its.client_id).stop()
    assert back.wait(60)


lock, other_lock = one.Lock("/lock"), two.Lock("/lock")
assert lock.acquire(timeout=30)
expire(one)
print(f"states: {', '.join(states)}; is_acquired: {lock.is_acquired}")
assert states == ["SUSPENDED", "LOST", "CONNECTED"] and lock.is_acquired
assert other_lock.acquire(timeout=30)
print(f"the lock: first client {lock.is_acquired}, second client {other_lock.is_acquired}, nodes {len(two.get_children('/lock'))}")
assert lock.is_acquired and other_lock.is_acquired and len(two.get_children("/lock")) == 1
released = lock.release()
print(f"release() by the first client: {released}; second client still {other_lock.is_acquired}, nodes {len(two.get_children('/lock'))}")
assert released is True and len(two.get_children("/lock")) == 1
lease, other_lease = one.Semaphore("/lease"), two.Semaphore("/lease")
assert lease.acquire(timeout=30)
expire(one)
assert other_lease.acquire(timeout=30)
print(f"the lease: first client {lease.is_acquired}, second client {other_lease.is_acquired}")
assert lease.is_acquired and other_lease.is_acquired
one.stop()
two.stop()
PYTHON
[[ $version == 3.8.0-* ]]

"""ClickHouse 18.16.1 (Debian's `clickhouse-server`): Distributed tables whose shards are databases of one server.

`python3 clickhouse-shards.py > clickhouse-shards.tsv`. The setting of a case is the sharding key, of the key `k` and its number `i`.
"""
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from common import case, keys

SIP = "sipHash64(k)"
CASES = [(f"shards-{count}", [1] * count, SIP) for count in (1, 2, 3, 5, 7, 10, 16, 40)]
CASES += [
    ("weights", [1, 2, 5, 3], SIP), ("weight-zero", [1, 0, 3], SIP), ("first-zero", [0, 1, 3], SIP), ("last-zero", [2, 1, 0], SIP),
    ("heavy", [1, 100000], SIP), ("equal-heavy", [1000, 1000, 1000], SIP), ("thirty", [1 + i % 7 for i in range(30)], SIP),
    ("numbers", [1] * 7, "toUInt64(i) * 1000000007"),
]
CASES += [(f"int-{width}", [1] * 7, f"toInt{width}(toInt64(i) - 1000)") for width in (8, 16, 32, 64)]
CASES += [(f"uint-{width}", [3, 1, 3], f"toUInt{width}(i)") for width in (8, 16, 32, 64)]
os.chdir(tempfile.mkdtemp())


def write(name, text):
    with open(name, "w") as file:
        file.write(text)


def cluster(number, weights):
    shard = "<shard><weight>{}</weight><replica><host>127.0.0.1</host><port>19000</port><default_database>c{}_{}</default_database></replica></shard>"
    return f"<c{number}>" + "".join(shard.format(weight, number, place) for place, weight in enumerate(weights)) + f"</c{number}>"


clusters = "".join(cluster(number, weights) for number, (_, weights, _) in enumerate(CASES))
write("config.xml", f"""<yandex><logger><level>none</level></logger><http_port>18123</http_port><tcp_port>19000</tcp_port><listen_host>127.0.0.1</listen_host>
<path>{os.getcwd()}/data/</path><tmp_path>{os.getcwd()}/tmp/</tmp_path><users_config>users.xml</users_config>
<default_profile>default</default_profile><default_database>default</default_database><mark_cache_size>1000000</mark_cache_size>
<remote_servers>{clusters}</remote_servers></yandex>""")
write("users.xml", """<yandex><profiles><default><insert_distributed_sync>1</insert_distributed_sync>
<connect_timeout_with_failover_ms>20000</connect_timeout_with_failover_ms></default></profiles><quotas><default/></quotas>
<users><default><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default></users></yandex>""")


def query(text):
    with urllib.request.urlopen("http://127.0.0.1:18123/", data=text.encode()) as answer:
        return answer.read().decode()


server = subprocess.Popen(["clickhouse-server", "--config-file=config.xml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    for _ in range(200):
        try:
            query("SELECT 1")
            break
        except urllib.error.URLError:
            time.sleep(0.1)
    rows = ",".join(f"({i}, unhex('{key.hex()}'))" for i, key in enumerate(keys("binary")))
    query("CREATE TABLE k (i UInt32, k String) ENGINE = Memory")
    query("INSERT INTO k VALUES " + rows)
    for number, (name, weights, key) in enumerate(CASES):
        for place in range(len(weights)):
            query(f"CREATE DATABASE c{number}_{place}")
            query(f"CREATE TABLE c{number}_{place}.t (i UInt32, k String) ENGINE = Memory")
        query(f"CREATE TABLE d{number} (i UInt32, k String) ENGINE = Distributed(c{number}, '', t, {key})")
        query(f"INSERT INTO d{number} SELECT * FROM k")
        owners = {}
        for place in range(len(weights)):
            for line in query(f"SELECT i FROM c{number}_{place}.t").split():
                assert owners.setdefault(int(line), place) == place
        case(name, [(f"shard-{place}", weight) for place, weight in enumerate(weights)], [owners[i] for i in range(2000)], key)
finally:
    server.kill()
    server.wait()

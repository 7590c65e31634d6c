"""Ceph 16.2.15's `crushtool` and `osdmaptool` (Debian's `ceph-base`): a map with classes of devices and several rules.

`python3 crush-map.py > crush-map.tsv`, which writes `crush-map.txt` too. Columns of the table are the rule, the size of the pool, the
placement group or, of the rule `replicated`, the name of an object, and the devices. The pool has number 1 and 192 placement groups.
"""
import os
import re
import shutil
import subprocess
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
os.chdir(tempfile.mkdtemp())
run = lambda *words: subprocess.run(words, check=True, capture_output=True, text=True).stdout
odd = lambda osd: (1.81940, 2, 1, 1.5, 3, 0.5)[osd % 6]
lines = ["tunable choose_local_tries 0", "tunable choose_local_fallback_tries 0", "tunable choose_total_tries 50", "tunable chooseleaf_descend_once 1",
         "tunable chooseleaf_vary_r 1", "tunable chooseleaf_stable 1", "tunable straw_calc_version 1", "tunable allowed_bucket_algs 54"]
lines += [f"device {osd} osd.{osd} class {'hdd' if osd % 3 else 'ssd'}" for osd in range(24)]
lines += ["type 0 osd", "type 1 host", "type 3 rack", "type 11 root"]


def bucket(kind, name, id, items):
    lines.extend([f"{kind} {name} {{", f" id {id}", " alg straw2", " hash 0", *[f" item {item} weight {weight:.5f}" for item, weight in items], "}"])
    return name, sum(weight for _, weight in items)


hosts = [bucket("host", f"node{host}", -2 - host, [(f"osd.{osd}", odd(osd)) for osd in range(3 * host, 3 * host + 3)]) for host in range(8)]
racks = [bucket("rack", f"rack{rack}", -20 - rack, hosts[2 * rack : 2 * rack + 2]) for rack in range(4)]
bucket("root", "default", -1, racks)
RULES = [
    ("replicated", 3, "take default", "chooseleaf firstn 0 type host"),
    ("racks", 4, "take default", "choose firstn 2 type rack", "chooseleaf firstn 2 type host"),
    ("on_ssd", 3, "take default class ssd", "chooseleaf firstn 0 type host"),
    ("erasure", 6, "set_chooseleaf_tries 5", "set_choose_tries 100", "take default class hdd", "chooseleaf indep 0 type host"),
    ("mixed", 3, "take default class ssd", "chooseleaf firstn 1 type host", "emit", "take default class hdd", "chooseleaf firstn -1 type host"),
]
for id, (name, size, *steps) in enumerate(RULES):
    kind = "erasure" if name == "erasure" else "replicated"
    lines += [f"rule {name} {{", f" id {id}", f" type {kind}", " min_size 1", " max_size 10", *[f" step {step}" for step in steps], " step emit", "}"]
with open("map.txt", "w") as file:
    file.write("\n".join(lines) + "\n")
run("crushtool", "-c", "map.txt", "-o", "map")
run("crushtool", "-d", "map", "-o", "crush-map.txt")
shutil.copy("crush-map.txt", here)
for id, (name, size, *_) in enumerate(RULES):
    out = run("crushtool", "-i", "map", "--test", "--rule", str(id), "--num-rep", str(size), "--pool-id", "1", "--min-x", "0", "--max-x", "191",
              "--weight", "4", "0.5", "--weight", "9", "0", "--show-mappings")
    for group, devices in re.findall(r"CRUSH rule \d+ x (\d+) \[([\d,]*)\]", out):
        print(name, size, group, devices, sep="\t")
run("osdmaptool", "--createsimple", "24", "osdmap", "--clobber", "--with-default-pool", "--pg-bits", "3")
run("osdmaptool", "osdmap", "--import-crush", "map")
for key in [f"user:{i}" for i in range(40)] + ["7919", "k1", "ключ", "rbd_data.5e2b.0000000000000001"]:
    out = run("osdmaptool", "osdmap", "--mark-up-in", "--test-map-object", key, "--pool", "1")
    print("object", 3, key, re.search(r"-> \[([\d,]*)\]", out)[1], sep="\t")

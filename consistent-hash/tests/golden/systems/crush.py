"""Ceph 16.2.15's `crushtool` (Debian's `ceph-base`): maps of hosts, some in racks, under one root, by `chooseleaf firstn 0`, or by `indep`
with the numbers of tries that pools with erasure codes have.

`python3 crush.py > crush.tsv`. A case has the type of what is chosen, the replicas, and reweights of devices in its settings; a server is a
device, its weight and its host and rack. Owners of the inputs 0 to 1999 are written as one number, in which each device is a digit to the
base 1000, counted from one; 999 stands for none.
"""
import os
import re
import subprocess
import tempfile

from common import case

os.chdir(tempfile.mkdtemp())
flat = lambda hosts, each, weight=lambda osd: 1: [(osd, weight(osd), osd // each, None) for osd in range(hosts * each)]
racks = lambda osds, hosts: [(osd, weight, host, host // hosts) for osd, weight, host, _ in osds]
odd = lambda osd: (1, 2, 1, 1.5, 3, 0.5)[osd % 6]
CASES = [
    ("three-hosts", "host", 3, {}, flat(3, 2, odd)),
    ("reweighted", "host", 3, {4: 0.5, 2: 0}, flat(3, 2, odd)),
    ("one-host", "host", 1, {}, flat(1, 3)),
    ("too-few-hosts", "host", 3, {}, flat(2, 4)),
    ("one-device", "host", 1, {}, flat(1, 1)),
    ("single-devices", "host", 3, {}, flat(10, 1)),
    ("devices", "osd", 3, {}, flat(4, 3, odd)),
    ("devices-out", "osd", 4, {0: 0, 5: 0.25, 7: 0.99}, flat(4, 3, odd)),
    ("weight-zero", "host", 3, {}, flat(5, 3, lambda osd: 0 if osd % 4 == 0 else 1)),
    ("host-of-zero", "host", 3, {}, flat(5, 2, lambda osd: 0 if osd < 2 else 1)),
    ("large-weights", "host", 3, {}, flat(6, 3, lambda osd: 50 + osd * 2.5)),
    ("small-weights", "host", 2, {}, flat(6, 3, lambda osd: 0.0625 * (1 + osd % 5))),
    ("one-heavy", "host", 3, {}, flat(8, 2, lambda osd: 99 if osd == 5 else 1)),
    ("all-out-but-three", "host", 3, {osd: 0 for osd in range(12) if osd not in (1, 5, 9)}, flat(6, 2)),
    ("racks", "rack", 3, {}, racks(flat(12, 2, odd), 3)),
    ("hosts-in-racks", "host", 4, {}, racks(flat(12, 2, odd), 3)),
    ("racks-out", "rack", 3, {osd: 0.1 for osd in range(0, 24, 3)}, racks(flat(12, 2, odd), 3)),
    ("five", "host", 5, {}, flat(20, 4, odd)),
    ("thirty-hosts", "host", 3, {17: 0.7}, flat(30, 4, odd)),
    ("three-hundred", "host", 3, {}, flat(100, 3, odd)),
    ("indep", "host indep", 3, {}, flat(6, 3, odd)),
    ("indep-five", "host indep", 5, {}, flat(20, 4, odd)),
    ("indep-out", "host indep", 4, {0: 0, 3: 0, 4: 0, 5: 0, 7: 0.5}, flat(6, 3, odd)),
    ("indep-too-few", "host indep", 5, {}, flat(4, 2, odd)),
    ("indep-devices", "osd indep", 5, {1: 0.3, 2: 0}, flat(4, 3, odd)),
    ("indep-racks", "rack indep", 4, {}, racks(flat(12, 2, odd), 2)),
    ("indep-zero", "host indep", 4, {}, flat(6, 2, lambda osd: 0 if osd < 2 else 1)),
    ("forty-racks", "rack", 3, {}, racks(flat(120, 2, odd), 3)),
]
TUNABLES = {"choose_local_tries": 0, "choose_local_fallback_tries": 0, "choose_total_tries": 50, "chooseleaf_descend_once": 1,
            "chooseleaf_vary_r": 1, "chooseleaf_stable": 1, "straw_calc_version": 1, "allowed_bucket_algs": 54}
for name, kind, replicas, reweights, osds in CASES:
    lines = [f"tunable {key} {value}" for key, value in TUNABLES.items()]
    lines += [f"device {osd} osd.{osd}" for osd, *_ in osds]
    lines += ["type 0 osd", "type 1 host", "type 3 rack", "type 10 root"]

    def bucket(kind, name, id, items):
        lines.extend([f"{kind} {name} {{", f" id {id}", " alg straw2", " hash 0"])
        lines.extend([f" item {item} weight {weight:.5f}" for item, weight in items] + ["}"])
        return name, sum(weight for _, weight in items)

    hosts = {}
    for osd, weight, host, rack in osds:
        hosts.setdefault((host, rack), []).append((f"osd.{osd}", weight))
    built = [(rack, bucket("host", f"host{host}", -2 - host, items)) for (host, rack), items in hosts.items()]
    if osds[0][3] is None:
        top = [item for _, item in built]
    else:
        top = [bucket("rack", f"rack{rack}", -1000 - rack, [item for other, item in built if other == rack]) for rack in sorted({rack for rack, _ in built})]
    bucket("root", "default", -1, top)
    type, mode = (kind + " firstn").split()[:2]
    choose = "choose" if type == "osd" else "chooseleaf"
    tries = [" step set_chooseleaf_tries 5", " step set_choose_tries 100"] if mode == "indep" else []
    lines += ["rule r {", " id 0", f" type {'erasure' if tries else 'replicated'}", " min_size 1", " max_size 10", *tries, " step take default",
              f" step {choose} {mode} 0 type {type}", " step emit", "}"]
    with open("map.txt", "w") as file:
        file.write("\n".join(lines) + "\n")
    subprocess.run(["crushtool", "-c", "map.txt", "-o", "map"], check=True)
    weights = [word for osd, weight in reweights.items() for word in ("--weight", str(osd), str(weight))]
    out = subprocess.run(["crushtool", "-i", "map", "--test", "--rule", "0", "--num-rep", str(replicas), "--min-x", "0", "--max-x", "1999",
                          "--show-mappings", *weights], check=True, capture_output=True, text=True)
    found = re.findall(r"CRUSH rule 0 x \d+ \[([\d,]*)\]", out.stdout + out.stderr)
    digit = lambda device: 999 if device == str(2**31 - 1) else int(device) + 1
    owners = [sum(digit(device) * 1000**place for place, device in enumerate(filter(None, line.split(",")))) for line in found]
    servers = [(f"osd.{osd}", weight, f"host={host}") + ((f"rack={rack}",) if rack is not None else ()) for osd, weight, host, rack in osds]
    case(name, servers, owners, kind, replicas, *[f"{osd}={weight}" for osd, weight in reweights.items()])

"""Prometheus 2.42 (Debian's `prometheus`): relabelling by `hashmod`, as `promtool check service-discovery` shows it.

`python3 prometheus.py > prometheus.tsv`. The key is the label `key`, its number the label `number`. The settings of a case are the modulus
and the source labels.
"""
import json
import os
import subprocess
import tempfile

from common import case, keys

MODULI = (1, 2, 3, 4, 5, 6, 7, 8, 10, 16, 31, 64, 100, 255, 256, 271, 997, 1000, 65536, 16777216, 18446744073709551615)
CASES = [(f"modulus-{modulus}", modulus, "key") for modulus in MODULI]
CASES += [("two-labels", 1000, "key,number"), ("reversed", 1000, "number,key"), ("missing-label", 1000, "key,missing"), ("missing-only", 1000, "missing")]
targets = [{"targets": [f"host:{1 + i}"], "labels": {"key": key.decode(), "number": str(i)}} for i, key in enumerate(keys())]
rules = [{"action": "hashmod", "modulus": modulus, "source_labels": labels.split(","), "target_label": f"case{number}"}
         for number, (_, modulus, labels) in enumerate(CASES)]
os.chdir(tempfile.mkdtemp())
with open("prometheus.yml", "w") as file:
    json.dump({"scrape_configs": [{"job_name": "all", "static_configs": targets, "relabel_configs": rules}]}, file)
shown = subprocess.run(["promtool", "check", "service-discovery", "prometheus.yml", "all"], capture_output=True, text=True, check=True).stdout
found = {int(one["discoveredLabels"]["number"]): one["labels"] for one in json.loads(shown)}
for number, (name, modulus, labels) in enumerate(CASES):
    case(name, [], [int(found[i][f"case{number}"]) for i in range(2000)], modulus, labels)

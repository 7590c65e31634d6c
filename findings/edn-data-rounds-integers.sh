#!/usr/bin/env bash
# edn-data 1.2.2 (npm), reading a history as Jepsen writes it.
# One would think: an integer of EDN has 64 bits, so that a reader gives it exactly or refuses; edn-data gives BigInt for `1N`.
# It is: an integer without the N becomes a double. From 9007199254740993 on integers are rounded, without an error. Two values that
# a history keeps apart become one, and a read of a value that nobody wrote looks as if all were well.
# Seen: 9007199254740993 written and 9007199254740992 read are one number after parsing; with an N behind they differ. Two times that are
# 60 ns apart, in nanoseconds since 1970, are one as well.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
timeout 300 npm install --silent --no-audit --no-fund edn-data@1.2.2 >/dev/null
cat > read.js <<'JS'
const { parseEDNString } = require("edn-data");
const read = (text) => parseEDNString(text, { mapAs: "object", keywordAs: "string" });
const same = (name, one, other) => console.log(`${name}: ${String(one)} and ${String(other)} are ${one === other ? "one" : "two"}`);
const history = (suffix) => [
  `{:index 0, :type :ok, :process 0, :f :write, :value 9007199254740993${suffix}}`,
  `{:index 1, :type :ok, :process 1, :f :read, :value 9007199254740992${suffix}}`,
];
for (const suffix of ["", "N"]) same(`written and read${suffix && " with N"}`, ...history(suffix).map((line) => read(line).value));
same("times", ...["1764446400000000040", "1764446400000000100"].map((time) => read(`{:time ${time}}`).time));
JS
seen=$(timeout 60 node read.js)
echo "$seen"
[ "$seen" = "written and read: 9007199254740992 and 9007199254740992 are one
written and read with N: 9007199254740993 and 9007199254740992 are two
times: 1764446400000000000 and 1764446400000000000 are one" ]

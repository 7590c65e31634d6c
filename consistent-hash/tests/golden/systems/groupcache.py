"""groupcache's `consistenthash` (Debian's `golang-github-golang-groupcache-dev`), called by a program in Go.

`python3 groupcache.py > groupcache.tsv`. The setting of a case is the number of points of a server.
"""
import os
import subprocess
import tempfile

from common import case, keys

PROGRAM = r"""
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/golang/groupcache/consistenthash"
)

func main() {
	replicas, _ := strconv.Atoi(os.Args[1])
	ring := consistenthash.New(replicas, nil)
	ring.Add(strings.Split(os.Args[2], " ")...)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		key, _ := hex.DecodeString(lines.Text())
		fmt.Println(ring.Get(string(key)))
	}
}
"""
os.chdir(tempfile.mkdtemp())
with open("main.go", "w") as file:
    file.write(PROGRAM)
environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode"}
subprocess.run(["go", "build", "-o", "place", "main.go"], check=True, env=environment)
peers = lambda count: [f"http://10.0.{i // 200}.{1 + i % 200}:8080" for i in range(count)]
CASES = [
    ("one", 50, peers(1)), ("two", 50, peers(2)), ("three", 50, peers(3)), ("reversed", 50, peers(3)[::-1]), ("four", 50, peers(4)),
    ("five", 50, peers(5)), ("seven", 50, peers(7)), ("ten", 50, peers(10)), ("fourteen", 50, peers(14)), ("forty", 50, peers(40)),
    ("hundred", 50, peers(100)), ("three-hundred", 50, peers(300)), ("one-point", 1, peers(10)), ("three-points", 3, peers(10)),
    ("160-points", 160, peers(10)), ("a-thousand-points", 1000, peers(3)), ("names", 50, ["alpha", "beta", "gamma", "delta"]),
    ("numbers", 50, ["1", "2", "10", "11", "100"]), ("ipv6", 50, ["http://[::1]:8080", "http://[::2]:8080", "http://[::1]:8081"]),
    ("paths", 50, ["http://a/x", "http://a/y", "https://a/x", "http://a:80/x"]), ("umlauts", 50, ["größe", "größer", "大"]),
]
for name, replicas, servers in CASES:
    hexadecimal = "".join(f"{key.hex()}\n" for key in keys("binary"))
    placed = subprocess.run(["./place", str(replicas), " ".join(servers)], input=hexadecimal, capture_output=True, text=True, check=True)
    case(name, servers, placed.stdout.split("\n")[:-1], replicas)

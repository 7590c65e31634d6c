"""Rings of programs in Go, compiled from the text of their sources: only the part that places is taken, unchanged.

`python3 go-rings.py thanos CHECKOUT > thanos.tsv`: Thanos at 0.43.0-dev (e103a81b), `pkg/receive/hashring.go` and the function
`HashWithPrefix`, with Debian's `golang-github-cespare-xxhash-dev`. A key is the value of the label `key` of a series of the tenant `t`.
The settings of a case are the algorithm and the replicas; its sample and digest are of the owner, or of all replicas as digits to the base
of 1000, the last the highest, each one more than the place of the server.

`python3 go-rings.py opentelemetry FILE > opentelemetry.tsv`: the collector's `exporter/loadbalancingexporter/consistent_hashing.go`
(9d1b9151), with endpoints in order, as its resolvers sort them.
"""
import os
import re
import subprocess
import sys
import tempfile

from common import case, keys

TYPES = """
type Endpoint struct{ Address, CapNProtoAddress, AZ string }
type ZLabel struct{ Name, Value string }
type TimeSeries struct{ Labels []ZLabel }
type Hashring interface {
	GetN(tenant string, timeSeries *TimeSeries, n uint64) (Endpoint, error)
	Nodes() []Endpoint
	Close()
}

var sep = []byte{'\\xff'}
"""
THANOS = """
func main() {
	replicas, _ := strconv.ParseUint(os.Args[2], 10, 64)
	var endpoints []Endpoint
	for _, one := range os.Args[3:] {
		address, zone, _ := strings.Cut(one, "@")
		endpoints = append(endpoints, Endpoint{Address: address, AZ: zone})
	}
	var ring Hashring
	var failed error
	if os.Args[1] == "ketama" {
		ring, failed = newKetamaHashring(endpoints, 1000, replicas)
	} else {
		ring, failed = newSimpleHashring(endpoints)
	}
	if failed != nil {
		panic(failed)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		key, _ := hex.DecodeString(lines.Text())
		series := &TimeSeries{Labels: []ZLabel{{"key", string(key)}}}
		for n := uint64(0); n < replicas; n++ {
			owner, failed := ring.GetN("t", series, n)
			if failed != nil {
				panic(failed)
			}
			fmt.Print(owner.Address, " ")
		}
		fmt.Println()
	}
}
"""
COLLECTOR = """
func main() {
	ring := newHashRing(os.Args[1:])
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		key, _ := hex.DecodeString(lines.Text())
		fmt.Println(ring.endpointFor(key))
	}
}
"""


def build(imports, text):
    text = "package main\n\nimport (\n" + "".join(f'\t"{name}"\n' for name in imports) + ")\n" + text
    with open("main.go", "w") as file:
        file.write(text)
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
    subprocess.run(["go", "build", "-o", "place", "main.go"], check=True, env=environment)


def placed(*arguments):
    hexadecimal = "".join(f"{key.hex()}\n" for key in keys("binary"))
    run = subprocess.run(["./place", *map(str, arguments)], input=hexadecimal, capture_output=True, text=True, check=True, timeout=60)
    return [line.split() for line in run.stdout.split("\n")[:-1]]


hosts = lambda count: [f"10.0.{i // 200}.{1 + i % 200}:10901" for i in range(count)]
zoned = lambda count, zones: [f"{host}@{'abcdefg'[i % zones]}" for i, host in enumerate(hosts(count))]
LISTS = [
    ("three", hosts(3)), ("one", hosts(1)), ("two", hosts(2)), ("reversed", hosts(3)[::-1]), ("four", hosts(4)), ("five", hosts(5)),
    ("seven", hosts(7)), ("ten", hosts(10)), ("sixteen", hosts(16)), ("thirty", hosts(30)), ("hundred", hosts(100)),
    ("three-hundred", hosts(300)), ("names", ["alpha", "beta", "gamma", "delta"]), ("numbers", ["1", "2", "10", "11", "100"]),
    ("prefixes", ["n", "n:", "n:1", "n:1:"]), ("ipv6", ["[::1]:10901", "[::2]:10901", "::1"]), ("umlauts", ["größe", "größer", "大"]),
    ("ports", ["a:1", "a:4317", "a"]), ("capitals", ["Cache", "cache", "CACHE"]), ("long", ["x" * 200, "y" * 200]),
    ("lengths", ["b", "aa", "c", "ab", "a"]),
]
source = os.path.abspath(sys.argv[2])
os.chdir(tempfile.mkdtemp())
if sys.argv[1] == "thanos":
    ring = open(f"{source}/pkg/receive/hashring.go").read()
    ring = ring[ring.index("// insufficientNodesError is returned"):ring.index("type tenantSet")]
    # The interface's types are those above.
    ring = re.sub(r"// Hashring finds the correct node.*?\n}\n", "", ring, flags=re.S).replace("prompb.", "").replace("labelpb.", "")
    label = open(f"{source}/pkg/store/labelpb/label.go").read()
    hash = re.search(r"func HashWithPrefix.*?\n}\n", label, re.S).group()
    imports = ("bufio", "encoding/hex", "errors", "fmt", "math", "os", "slices", "sort", "strconv", "strings", "github.com/cespare/xxhash")
    build(imports, TYPES + ring + hash + THANOS)
    CASES = [(name, listed, "ketama", 1) for name, listed in LISTS]
    CASES += [(f"hashmod-{name}", listed, "hashmod", 1) for name, listed in LISTS if name in ("three", "reversed", "ten", "hundred", "lengths")]
    CASES += [(f"replicas-{count}", hosts(7), "ketama", count) for count in (2, 3, 5, 6)]
    CASES += [(f"zones-{zones}-replicas-{count}", zoned(9, zones), "ketama", count) for zones, count in ((2, 2), (2, 4), (3, 2), (3, 3), (3, 6))]
    CASES += [("uneven-zones", [f"{host}@{zone}" for host, zone in zip(hosts(5), "aabbc")], "ketama", 3), ("hashmod-replicas", hosts(5), "hashmod", 3)]
    for name, listed, algorithm, replicas in CASES:
        addresses = [one.split("@")[0] for one in listed]
        numbers = [[addresses.index(owner) for owner in owners] for owners in placed(algorithm, replicas, *listed)]
        digits = [sum((1 + owner) * 1000**place for place, owner in enumerate(owners)) if replicas > 1 else owners[0] for owners in numbers]
        servers = [(one.split("@")[0], 1, *(f"zone={zone}" for zone in one.split("@")[1:])) for one in listed]
        case(name, servers, digits, algorithm, replicas)
else:
    ring = open(source).read()
    ring = ring[ring.index("const maxPositions"):]
    build(("bufio", "encoding/hex", "fmt", "hash/crc32", "os", "sort"), ring + COLLECTOR)
    for name, listed in LISTS:
        owners = [" ".join(line) for line in placed(*sorted(listed, key=str.encode))]
        case(name, listed, [listed.index(owner) for owner in owners])

"""Asks the real redis-cli how it shares out the slots: `slots.py REDIS_CLI HOSTSxMASTERS...` prints host count, masters, and where
each run ends, in the order of the list of nodes given. What answers it is a stand-in for empty nodes; it decides nothing."""
import asyncio, sys, re

async def node(reader, writer, host, port):
    while True:
        line = await reader.readline()
        if not line: break
        parts = []
        for _ in range(int(line[1:])):
            size = int((await reader.readline())[1:])
            parts.append((await reader.readexactly(size + 2))[:-2].upper())
        if parts[0] == b"INFO": text = b"cluster_enabled:1\r\n"
        elif parts[:2] == [b"CLUSTER", b"INFO"]: text = b"cluster_known_nodes:1\r\ncluster_state:fail\r\n"
        elif parts[:2] == [b"CLUSTER", b"NODES"]:
            name = ("%08x" % int(host.split(".")[3]) + "%032x" % port).encode()
            text = name + b" %s:%d@%d myself,master - 0 0 0 connected\n" % (host.encode(), port, port + 10000)
        else: text = b""
        writer.write(b"$%d\r\n%s\r\n" % (len(text), text)); await writer.drain()

async def main(cli, cases):
    for case in cases:
        hosts, masters = map(int, case.split("x"))
        servers, names = [], []
        for i in range(masters):
            host = f"127.0.0.{1 + i * hosts // masters}"
            server = await asyncio.start_server(lambda r, w, h=host: node(r, w, h, w.get_extra_info("sockname")[1]), host, 0)
            servers.append(server); names.append(f"{host}:{server.sockets[0].getsockname()[1]}")
        process = await asyncio.create_subprocess_exec(cli, "--cluster", "create", *names, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        out = (await process.communicate())[0].decode()
        runs = re.findall(r"Master\[(\d+)\] -> Slots (\d+) - (\d+)", out)
        owned = re.findall(r"^M: \S+ (127\S+)\n\s+slots:\[(\d+)", out, re.M)
        order = [name for name, first in sorted(owned, key=lambda pair: int(pair[1]))]
        if len(runs) != masters: print(out[:2000]); raise SystemExit(1)
        print(hosts, masters, ",".join(str(names.index(n)) for n in order) if hosts > 1 else "-", " ".join(end for _, _, end in runs), sep="\t")
        for s in servers: s.close()
asyncio.run(main(sys.argv[1], sys.argv[2:]))

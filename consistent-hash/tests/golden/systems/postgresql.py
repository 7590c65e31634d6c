"""PostgreSQL 15 (Debian's `postgresql-15`): `satisfies_hash_partition` of tables in a database made for this.

`python3 postgresql.py > postgresql.tsv`, as a user that may run `initdb`. A case has its modulus and the types of its columns in its
settings, and no servers. Of several columns the second is the number of the key, and the third NULL for each third key.
"""
import os
import subprocess
import tempfile

from common import case, keys

BIN = "/usr/lib/postgresql/15/bin/"
folder = tempfile.mkdtemp()
os.chmod(folder, 0o700)
run = lambda *command: subprocess.run([BIN + command[0], *command[1:]], check=True, capture_output=True)
run("initdb", "-D", folder + "/data", "-E", "UTF8", "--no-locale", "-A", "trust", "-U", "p")
run("pg_ctl", "-D", folder + "/data", "-w", "-o", f"-k {folder} -c listen_addresses=''", "-l", folder + "/log", "start")
psql = lambda script: subprocess.run(
    ["psql", "-qAt", "-h", folder, "-U", "p", "-v", "ON_ERROR_STOP=1", "postgres"], input=script, text=True, check=True, stdout=subprocess.PIPE).stdout
CASES = [(f"{kind}-{modulus}", modulus, kind) for kind in ("int4", "int8", "text", "bytea") for modulus in (1, 2, 7, 300, 1000)]
CASES += [(f"columns-{modulus}", modulus, "text int4 int8") for modulus in (2, 7, 96)]
try:
    all_keys = list(keys("binary"))
    rows = ",".join(f"({i},'\\x{key.hex()}'::bytea)" for i, key in enumerate(all_keys))
    psql(f"create table k (i int, b bytea); insert into k values {rows};")
    # Numbers of every size, and of either sign.
    columns = {
        "int4": "(i::int8 * 2140000 - 2147483648 + i * i)::int4",
        "int8": "case when i < 1000 then i - 500 else (i - 1500) * 12345678901234 end::int8",
        "text": "case when i < 1500 then convert_from(b, 'UTF8') else encode(b, 'hex') end",
        "bytea": "b",
    }
    for name, modulus, kinds in CASES:
        kinds = kinds.split()
        expressions = [columns[kind] for kind in kinds]
        if len(kinds) > 1:
            expressions = [columns["text"], "i::int4", "case when i % 3 = 0 then null else i::int8 << 30 end"]
        define = ", ".join(f"c{n} {kind}" for n, kind in enumerate(kinds))
        by = ", ".join(f"c{n}" for n in range(len(kinds)))
        psql(f"drop table if exists t; create table t ({define}) partition by hash ({by});")
        values = ", ".join(expressions)
        found = psql(
            f"select r from k, generate_series(0, {modulus - 1}) r "
            f"where satisfies_hash_partition('t'::regclass, {modulus}, r, {values}) order by i;")
        case(name, [], [int(line) for line in found.split()], modulus, *kinds)
finally:
    run("pg_ctl", "-D", folder + "/data", "-m", "immediate", "stop")

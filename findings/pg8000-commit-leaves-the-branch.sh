#!/usr/bin/env bash
# pg8000 1.31.6 (PyPI) over PostgreSQL 15 (Debian 12), the two-phase calls of Python's database interface.
# One would think: all three parts of xid(format_id, gtrid, bqual) name the branch, as with psycopg, and tpc_commit() commits what
# tpc_prepare() prepared, or raises.
# It is: only gtrid reaches the server. tpc_commit() and tpc_rollback() look for the whole xid among the listed ones, which are all
# (0, gtrid, ""). With another format_id or a bqual they find none, take the call for a one-phase commit of nothing, and return without
# an error. The branch stays prepared and keeps its locks. Two branches of one gtrid that differ in bqual collide.
# Seen: after tpc_commit() the row is not there and the branch is listed; with (0, gtrid, "") it commits; a second bqual answers 42710.
set -euo pipefail
folder=$(mktemp -d)
bin=$folder/root/usr/lib/postgresql/15/bin
as_nobody() { timeout 60 runuser -u nobody -- "$@"; }
trap 'as_nobody "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
apt-get download postgresql-15 >/dev/null 2>&1
dpkg-deb -x postgresql-15_*.deb root
mkdir data
chown nobody data
as_nobody "$bin/initdb" -D data -U postgres -A trust -N >/dev/null
as_nobody "$bin/pg_ctl" -D data -l data/log -w -o "-k $folder/data -c listen_addresses= -c max_prepared_transactions=9" start >/dev/null
python3 -m venv python
timeout 300 python/bin/pip install --quiet --disable-pip-version-check pg8000==1.31.6
timeout 60 python/bin/python - <<'PYTHON'
import pg8000.dbapi


def connection():
    return pg8000.dbapi.connect(user="postgres", unix_sock="data/.s.PGSQL.5432")


def ask(query):
    cursor = observer.cursor()
    cursor.execute(query)
    return [row[0] for row in cursor.fetchall()]


observer = connection()
observer.autocommit = True
observer.cursor().execute("create table item (id integer)")
version = ask("show server_version")[0]
print(f"PostgreSQL {version}")
assert version.startswith("15.")


def prepared(xid, number):
    one = connection()
    one.tpc_begin(one.xid(*xid))
    one.cursor().execute(f"insert into item values ({number})")
    one.tpc_prepare()
    return one


first = prepared((1, "order-1", "stock"), 1)
answer = first.tpc_commit()
seen = (answer, ask("select gid from pg_prepared_xacts"), ask("select id from item"))
print(f"xid (1, order-1, stock): tpc_commit() returns {answer}; prepared still: {seen[1]}; rows: {seen[2]}")
assert seen == (None, ["order-1"], [])
try:
    prepared((1, "order-1", "billing"), 2)
    collision = "none"
except pg8000.dbapi.DatabaseError as error:
    collision = error.args[0]["C"]
print(f"xid (1, order-1, billing) beside it: error {collision}")
assert collision == "42710"
prepared((0, "order-2", ""), 3).tpc_commit()
seen = (ask("select gid from pg_prepared_xacts"), ask("select id from item"))
print(f"xid (0, order-2, ''): prepared still: {seen[0]}; rows: {seen[1]}")
assert seen == (["order-1"], [3])
PYTHON

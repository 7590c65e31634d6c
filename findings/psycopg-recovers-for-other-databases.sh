#!/usr/bin/env bash
# psycopg 3.3.9 (PyPI) over PostgreSQL 15 (Debian 12), tpc_recover() with several databases in one server.
# One would think: tpc_recover() lists the branches that this connection can finish, as it is there to feed tpc_commit() and tpc_rollback().
# It is: it lists those of all databases and all owners. The usual loop, which takes each and finishes it, ends with 0A000 at the first
# branch of another database, so that those of its own behind it stay in doubt with their locks. The list is in no stated order, so it may
# work for months. The `database` of each has to be compared first.
# Seen: with a branch in `orders` and one in `stock`, a connection to `stock` gets both; the loop raises 0A000 and its own stays listed; with
# the comparison its own is rolled back.
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
timeout 300 python/bin/pip install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9'
timeout 60 python/bin/python - <<'PYTHON'
import os

import psycopg


def connection(database, **more):
    return psycopg.connect(host=os.getcwd() + "/data", user="postgres", dbname=database, **more)


admin = connection("postgres", autocommit=True)
version = admin.execute("show server_version").fetchone()[0]
print(f"PostgreSQL {version}")
assert version.startswith("15.")
for database in ("orders", "stock"):
    admin.execute(f"create database {database}")
    connection(database, autocommit=True).execute("create table item (id integer)")
    with connection(database) as one:
        one.tpc_begin(one.xid(1, "order-1", database))
        one.execute("insert into item values (1)")
        one.tpc_prepare()
        one.close()

stock = connection("stock")
listed = sorted(stock.tpc_recover(), key=lambda xid: xid.database)
print(f"a connection to stock gets branches of {', '.join(xid.database for xid in listed)}")
try:
    for xid in listed:
        stock.tpc_rollback(xid)
    outcome = "done"
except psycopg.Error as error:
    outcome = error.sqlstate
left = [xid.database for xid in stock.tpc_recover()]
print(f"finishing each in this order: {outcome}; still listed: {', '.join(sorted(left))}")
for xid in stock.tpc_recover():
    if xid.database == stock.info.dbname:
        stock.tpc_rollback(xid)
compared = [xid.database for xid in stock.tpc_recover()]
print(f"finishing those of its own database: still listed: {', '.join(compared)}")
assert [xid.database for xid in listed] == ["orders", "stock"] and outcome == "0A000"
assert sorted(left) == ["orders", "stock"] and compared == ["orders"]
PYTHON

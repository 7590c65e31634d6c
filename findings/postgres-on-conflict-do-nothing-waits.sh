#!/usr/bin/env bash
# PostgreSQL 15 (Debian 12), INSERT ... ON CONFLICT DO NOTHING on a row that a prepared transaction has only updated.
# One would think: the row is there, committed long ago, and its key was not touched, so DO NOTHING does nothing, at once.
# It is: the insert waits until the prepared transaction is finished, however it ends and however long that takes, also after a restart of
# the server. So a program that makes its first rows in this way when it starts, and finishes what is in doubt afterwards, waits for itself
# for ever. lock_timeout does end it (55P03). A SELECT before the insert sees the row and waits for nothing.
# Seen: 55P03 after two seconds, before and after a restart; the SELECT finds the row; once the branch is finished, INSERT 0 rows at once.
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
start() {
    as_nobody "$bin/pg_ctl" -D data -l data/log -w -o "-k $folder/data -c listen_addresses= -c max_prepared_transactions=9" start >/dev/null
}
start
python3 -m venv python
timeout 300 python/bin/pip install --quiet --disable-pip-version-check 'psycopg[binary]==3.3.9'
cat >first.py <<'PYTHON'
import os

import psycopg


def connection(**more):
    return psycopg.connect(host=os.getcwd() + "/data", user="postgres", dbname="postgres", autocommit=True, **more)


def insert():
    """The rows that the insert made, or the error that ended its wait."""
    one = connection()
    one.execute("set lock_timeout = '2s'")
    try:
        return one.execute("insert into account values ('a', 0) on conflict do nothing").rowcount
    except psycopg.Error as error:
        return error.sqlstate


def select():
    one = connection()
    one.execute("set lock_timeout = '2s'")
    return one.execute("select balance from account where name = 'a'").fetchall()
PYTHON
timeout 60 python/bin/python - <<'PYTHON'
from first import connection, insert, select

admin = connection()
version = admin.execute("show server_version").fetchone()[0]
print(f"PostgreSQL {version}")
assert version.startswith("15.")
admin.execute("create table account (name text primary key, balance integer)")
admin.execute("insert into account values ('a', 10)")
free = insert()
admin.execute("begin")
admin.execute("update account set balance = 7 where name = 'a'")
admin.execute("prepare transaction 'transfer'")
held, seen = insert(), select()
print(f"nothing in doubt: {free} rows; the row updated by a prepared transaction: {held}; SELECT finds {seen}")
assert (free, held, seen) == (0, "55P03", [(10,)])
PYTHON
as_nobody "$bin/pg_ctl" -D data -m fast -w stop >/dev/null
start
timeout 60 python/bin/python - <<'PYTHON'
from first import connection, insert

held = insert()
connection().execute("rollback prepared 'transfer'")
free = insert()
print(f"after a restart: {held}; once it is finished: {free} rows")
assert (held, free) == ("55P03", 0)
PYTHON

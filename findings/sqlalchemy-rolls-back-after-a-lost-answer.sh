#!/usr/bin/env bash
# SQLAlchemy 2.1.9 with psycopg 3.3.9 (PyPI) over PostgreSQL 15 (Debian 12): Session(twophase=True) over two databases.
# One would think: when both have prepared, the decision is commit. If the answer to one COMMIT PREPARED is lost, the other branch is
# committed, or stays prepared until somebody looks.
# It is: the session rolls back what it has not committed yet, though the branch whose answer was lost has committed. The order of the
# two commits is that of a set and changes from try to try. The caller sees OperationalError, as after a failed commit.
# Seen: 40 transactions that insert a row into both, the answer to the second database's COMMIT PREPARED lost each time: in some both rows
# are there, in the others only the second; nothing is left prepared, so that nobody can repair it.
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
timeout 300 python/bin/pip install --quiet --disable-pip-version-check sqlalchemy==2.1.9 'psycopg[binary]==3.3.9'
timeout 200 python/bin/python - <<'PYTHON'
import os
import socket
import threading

import psycopg
import sqlalchemy
from sqlalchemy.orm import DeclarativeBase, Session

FOLDER = os.getcwd() + "/data"


def lossy_door():
    """A port that leads to the server and cuts the connection instead of bringing the answer to COMMIT PREPARED."""
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source, target, state):
        try:
            while data := source.recv(65536):
                if source is state["client"] and b"COMMIT PREPARED" in data:
                    state["cut"] = True
                elif source is not state["client"] and state["cut"]:
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept():
        while True:
            client = listener.accept()[0]
            server = socket.socket(socket.AF_UNIX)
            server.connect(FOLDER + "/.s.PGSQL.5432")
            state = {"client": client, "cut": False}
            for pair in ((client, server), (server, client)):
                threading.Thread(target=copy, args=(*pair, state), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def table():
    class Base(DeclarativeBase):
        pass

    class Item(Base):
        __tablename__ = "item"
        id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)

    return Item


def observer(database):
    return psycopg.connect(host=FOLDER, user="postgres", dbname=database, autocommit=True)


admin = observer("postgres")
version = admin.execute("show server_version").fetchone()[0]
print(f"PostgreSQL {version}")
assert version.startswith("15.")
observers = {}
for name in ("one", "two"):
    admin.execute(f"create database {name}")
    observers[name] = observer(name)
    observers[name].execute("create table item (id integer primary key)")
One, Two = table(), table()
binds = {
    One: sqlalchemy.create_engine(f"postgresql+psycopg://postgres@/one?host={FOLDER}"),
    Two: sqlalchemy.create_engine(f"postgresql+psycopg://postgres@127.0.0.1:{lossy_door()}/two?sslmode=disable&gssencmode=disable"),
}
outcomes = []
for number in range(40):
    try:
        with Session(binds=binds, twophase=True) as session:
            session.add_all([One(id=number), Two(id=number)])
            session.commit()
        raised = None
    except sqlalchemy.exc.OperationalError as error:
        raised = type(error).__name__
    there = {name: bool(one.execute("select 1 from item where id = %s", (number,)).fetchall()) for name, one in observers.items()}
    outcomes.append((raised, there["one"], there["two"]))
torn, whole = outcomes.count(("OperationalError", False, True)), outcomes.count(("OperationalError", True, True))
left = admin.execute("select count(*) from pg_prepared_xacts").fetchone()[0]
print(f"of {len(outcomes)} transactions {whole} are in both databases, {torn} only in the second; left prepared: {left}")
assert torn + whole == len(outcomes) and torn > 0 and whole > 0 and left == 0
PYTHON

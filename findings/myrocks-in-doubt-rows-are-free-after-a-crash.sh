#!/usr/bin/env bash
# MariaDB 10.11 (Debian 12), tables of MyRocks (mariadb-plugin-rocksdb) and of InnoDB in prepared XA branches, mariadbd killed by -9.
# One would think: after the restart a branch in doubt is listed and the rows that it changed are locked again, so that nobody builds on
# a value that the branch is going to replace. So it is with InnoDB.
# It is: MyRocks lists the branch and commits it when told, but its rows are free. Others change them, are told that all is well, and lose
# their change when the branch commits.
# Seen: a branch sets 10 to 20; after the restart another session adds 5. InnoDB: error 1205, at the end 20. MyRocks: no error, 15, and
# after XA COMMIT 20. Before the crash MyRocks answers 1205 as well.
set -euo pipefail
folder=$(mktemp -d)
trap '[ -z "${server:-}" ] || { kill "$server" && wait "$server"; } || true; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
apt-get download mariadb-server mariadb-server-core mariadb-client-core mariadb-plugin-rocksdb libmariadb3 libsnappy1v5 >/dev/null 2>&1
for package in *.deb; do dpkg-deb -x "$package" root; done
LD_LIBRARY_PATH=$(echo "$folder"/root/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH
mkdir data
chown nobody data
sql() { timeout 60 root/usr/bin/mariadb --no-defaults -N -u root -S data/s -e "$1" 2>&1; }
start() {
    timeout 300 root/usr/sbin/mariadbd --no-defaults --user=nobody --datadir="$folder/data" --socket="$folder/data/s" --pid-file="$folder/data/pid" \
        --skip-networking --plugin-dir="$folder/root/usr/lib/mysql/plugin" --plugin-maturity=unknown --plugin-load-add=ha_rocksdb.so \
        --lc-messages-dir="$folder/root/usr/share/mysql" --character-sets-dir="$folder/root/usr/share/mysql/charsets" >>data/log 2>&1 &
    server=$!
    for _ in $(seq 300); do sql 'select 1' >/dev/null && return; sleep 0.2; done
    return 1
}
timeout 120 root/usr/bin/mariadb-install-db --no-defaults --user=nobody --datadir="$folder/data" --basedir="$folder/root/usr" \
    --auth-root-authentication-method=normal --skip-test-db >/dev/null 2>&1
start
version=$(sql 'select version()')
echo "MariaDB $version"
sql 'create database shop'
for engine in innodb rocksdb; do
    sql "create table shop.$engine (id integer primary key, amount integer) engine=$engine; insert into shop.$engine values (1, 10)"
    sql "xa start '$engine'; update shop.$engine set amount = 20; xa end '$engine'; xa prepare '$engine'"
done
add() {
    local update="update shop.$1 set amount = amount + 5 where id = 1"
    sql "set innodb_lock_wait_timeout = 1; set rocksdb_lock_wait_timeout = 1; $update" >answer || true
    grep -o 'ERROR [0-9]*' answer || echo "no error"
}
seen=$(
    for engine in innodb rocksdb; do echo "$engine before the crash: adding 5 answers $(add "$engine")"; done
)
kill -9 "$(cat data/pid)"
wait "$server" 2>/dev/null || true
start
seen+=$'\n'$(
    for engine in innodb rocksdb; do
        echo "$engine after it: $(sql 'xa recover' | grep -c "$engine") listed; adding 5 answers $(add "$engine"), amount $(sql "select amount from shop.$engine")"
        sql "xa commit '$engine'"
        echo "$engine after XA COMMIT: amount $(sql "select amount from shop.$engine")"
    done
)
echo "$seen"
[[ $version == 10.11.* ]]
[ "$seen" = "innodb before the crash: adding 5 answers ERROR 1205
rocksdb before the crash: adding 5 answers ERROR 1205
innodb after it: 1 listed; adding 5 answers ERROR 1205, amount 10
innodb after XA COMMIT: amount 20
rocksdb after it: 1 listed; adding 5 answers no error, amount 15
rocksdb after XA COMMIT: amount 20" ]

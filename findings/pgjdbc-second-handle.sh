#!/usr/bin/env bash
# PostgreSQL's JDBC driver 42.5.5 over PostgreSQL 15 (both Debian 12), through PGXADataSource.
# One would think: asking an XAConnection for its connection again while a branch is open gives another handle to the same branch, as with
# MariaDB's driver. The branch votes on all that was written in it.
# It is: unless the first handle was closed before, the second getConnection() rolls back what the branch has written so far. Nothing is
# raised; the branch goes on, votes XA_OK and commits what came afterwards. Code that asks for the connection in each of its parts loses
# the first part of its transaction.
# Seen: of two inserts through two handles of one branch the first row is missing; with the first handle closed in between both are there.
set -euo pipefail
folder=$(mktemp -d)
bin=$folder/root/usr/lib/postgresql/15/bin
as_nobody() { timeout 60 runuser -u nobody -- "$@"; }
trap 'as_nobody "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
command -v javac >/dev/null || { echo "javac is missing: install a JDK" >&2; exit 2; }
apt-get download postgresql-15 libpostgresql-jdbc-java >/dev/null 2>&1
for package in *.deb; do dpkg-deb -x "$package" root; done
mkdir data
chown nobody data
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
as_nobody "$bin/initdb" -D data -U postgres -A trust -N >/dev/null
as_nobody "$bin/pg_ctl" -D data -l data/log -w -o "-p $port -k $folder/data -c listen_addresses=127.0.0.1 -c max_prepared_transactions=9" start >/dev/null
cat > Ask.java <<'JAVA'
import java.sql.SQLException;
import java.util.ArrayList;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;
import org.postgresql.xa.PGXADataSource;

class Ask {
    record Name(int getFormatId, byte[] getGlobalTransactionId, byte[] getBranchQualifier) implements Xid {}

    static void insert(java.sql.Connection connection, int number) throws SQLException {
        try (var statement = connection.createStatement()) {
            statement.executeUpdate("insert into item values (" + number + ")");
        }
    }

    public static void main(String[] arguments) throws Exception {
        var source = new PGXADataSource();
        source.setUrl("jdbc:postgresql://127.0.0.1:" + arguments[0] + "/postgres?user=postgres");
        var observer = source.getXAConnection().getConnection();
        System.out.println("driver " + observer.getMetaData().getDriverVersion() + ", server " + observer.getMetaData().getDatabaseProductVersion().replaceAll(" .*", ""));
        try (var statement = observer.createStatement()) {
            statement.execute("create table item (id integer)");
        }
        for (var closes : new boolean[] {false, true}) {
            var connection = source.getXAConnection();
            var resource = connection.getXAResource();
            var name = new Name(1, ("order-" + closes).getBytes(), "stock".getBytes());
            resource.start(name, XAResource.TMNOFLAGS);
            var first = connection.getConnection();
            insert(first, 1);
            if (closes) first.close();
            insert(connection.getConnection(), 2);
            resource.end(name, XAResource.TMSUCCESS);
            var vote = resource.prepare(name) == XAResource.XA_OK ? "XA_OK" : "something else";
            resource.commit(name, false);
            var found = new ArrayList<Integer>();
            try (var statement = observer.createStatement()) {
                var rows = statement.executeQuery("select id from item order by id");
                while (rows.next()) found.add(rows.getInt(1));
                statement.execute("delete from item");
            }
            System.out.println("first handle " + (closes ? "closed" : "open") + ": vote " + vote + ", rows " + found);
        }
    }
}
JAVA
jar=root/usr/share/java/postgresql.jar
timeout 120 javac -cp "$jar" Ask.java
seen=$(timeout 60 java -cp "$jar:." Ask "$port")
echo "$seen"
[[ $seen == "driver 42.5.5, server 15."* ]]
[ "$(tail -n 2 <<<"$seen")" = "first handle open: vote XA_OK, rows [2]
first handle closed: vote XA_OK, rows [1, 2]" ]

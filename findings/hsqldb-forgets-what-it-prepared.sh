#!/usr/bin/env bash
# HSQLDB 2.7.1 (Debian 12, libhsqldb-java), a database in a file, through its XADataSource.
# One would think: XA_OK from prepare() is a promise that outlives a crash: after a restart recover() lists the branch and commit() works.
# It is: what is prepared lives in memory. After the process has ended recover() is empty, the row is not there, and commit() raises an
# XAException whose code is 0, none of those that the specification names. Whoever decided commit in between has half a transaction.
# Seen: before the end recover() lists one branch; in the next process it lists none, and commit() raises code 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
command -v javac >/dev/null || { echo "javac is missing: install a JDK" >&2; exit 2; }
apt-get download libhsqldb-java >/dev/null 2>&1
dpkg-deb -x libhsqldb-java_*.deb root
cat > Ask.java <<'JAVA'
import javax.transaction.xa.XAException;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;
import org.hsqldb.jdbc.pool.JDBCXADataSource;

class Ask {
    record Name(int getFormatId, byte[] getGlobalTransactionId, byte[] getBranchQualifier) implements Xid {}

    public static void main(String[] arguments) throws Exception {
        var source = new JDBCXADataSource();
        source.setUrl("jdbc:hsqldb:file:data/db;hsqldb.write_delay=false");
        source.setUser("SA");
        source.setPassword("");
        var connection = source.getXAConnection();
        var resource = connection.getXAResource();
        var name = new Name(1, "order-1".getBytes(), "stock".getBytes());
        if (arguments[0].equals("prepare")) {
            try (var plain = source.getXAConnection().getConnection(); var statement = plain.createStatement()) {
                System.out.println("HSQLDB " + plain.getMetaData().getDatabaseProductVersion());
                statement.execute("create table item (id integer primary key)");
            }
            resource.start(name, XAResource.TMNOFLAGS);
            connection.getConnection().createStatement().executeUpdate("insert into item values (1)");
            resource.end(name, XAResource.TMSUCCESS);
            System.out.println("prepare() answers " + (resource.prepare(name) == XAResource.XA_OK ? "XA_OK" : "something else"));
        }
        System.out.println("recover() lists " + resource.recover(XAResource.TMSTARTRSCAN | XAResource.TMENDRSCAN).length);
        if (arguments[0].equals("commit")) {
            try {
                resource.commit(name, false);
                System.out.println("commit() is done");
            } catch (XAException error) {
                System.out.println("commit() raises code " + error.errorCode);
            }
            try (var plain = source.getXAConnection().getConnection(); var statement = plain.createStatement()) {
                var rows = statement.executeQuery("select count(*) from item");
                rows.next();
                System.out.println("rows: " + rows.getInt(1));
            }
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }
}
JAVA
jar=root/usr/share/java/hsqldb.jar
timeout 120 javac -cp "$jar" Ask.java
seen=$(for step in prepare commit; do timeout 60 java -cp "$jar:." Ask "$step"; done)
echo "$seen"
[ "$seen" = "HSQLDB 2.7.1
prepare() answers XA_OK
recover() lists 1
recover() lists 0
commit() raises code 0
rows: 0" ]

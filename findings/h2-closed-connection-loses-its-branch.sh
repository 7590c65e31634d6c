#!/usr/bin/env bash
# H2 2.1.214 (Debian 12, libh2-java), through its XADataSource.
# One would think: a prepared branch belongs to the database, so that it stays when the connection that prepared it closes; so it does
# when the whole database is closed or killed.
# It is: as long as another connection keeps the database open, closing the one that prepared rolls the branch back. recover() no longer
# lists it and commit() raises an XAException of code 0. A pool that closes a connection, or a client of a server that ends, takes back
# a vote of yes.
# Seen: recover() lists one branch before close() and none after; commit() raises code 0; the row is not there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
command -v javac >/dev/null || { echo "javac is missing: install a JDK" >&2; exit 2; }
apt-get download libh2-java >/dev/null 2>&1
version=$(dpkg-deb -f libh2-java_*.deb Version)
dpkg-deb -x libh2-java_*.deb root
cat > Ask.java <<'JAVA'
import javax.transaction.xa.XAException;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;
import org.h2.jdbcx.JdbcDataSource;

class Ask {
    record Name(int getFormatId, byte[] getGlobalTransactionId, byte[] getBranchQualifier) implements Xid {}

    public static void main(String[] arguments) throws Exception {
        var source = new JdbcDataSource();
        source.setURL("jdbc:h2:./data");
        var observer = source.getXAConnection();
        var statement = observer.getConnection().createStatement();
        statement.execute("create table item (id integer primary key)");
        var preparing = source.getXAConnection();
        var name = new Name(1, "order-1".getBytes(), "stock".getBytes());
        var resource = preparing.getXAResource();
        resource.start(name, XAResource.TMNOFLAGS);
        preparing.getConnection().createStatement().executeUpdate("insert into item values (1)");
        resource.end(name, XAResource.TMSUCCESS);
        System.out.println("prepare() answers " + (resource.prepare(name) == XAResource.XA_OK ? "XA_OK" : "something else"));
        var other = observer.getXAResource();
        System.out.println("recover() lists " + other.recover(XAResource.TMSTARTRSCAN | XAResource.TMENDRSCAN).length);
        preparing.close();
        System.out.println("after close() it lists " + other.recover(XAResource.TMSTARTRSCAN | XAResource.TMENDRSCAN).length);
        try {
            other.commit(name, false);
            System.out.println("commit() is done");
        } catch (XAException error) {
            System.out.println("commit() raises code " + error.errorCode);
        }
        var rows = statement.executeQuery("select count(*) from item");
        rows.next();
        System.out.println("rows: " + rows.getInt(1));
    }
}
JAVA
jar=root/usr/share/java/h2.jar
timeout 120 javac -cp "$jar" Ask.java
echo "H2 $version"
seen=$(timeout 60 java -cp "$jar:." Ask)
echo "$seen"
[[ $version == 2.1.214-* ]]
[ "$seen" = "prepare() answers XA_OK
recover() lists 1
after close() it lists 0
commit() raises code 0
rows: 0" ]

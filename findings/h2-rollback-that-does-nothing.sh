#!/usr/bin/env bash
# H2 2.1.214 (Debian 12, libh2-java), through its XADataSource: a branch that was prepared when the process was killed.
# One would think: after the restart any connection may call rollback(xid) with the xid from the coordinator's log, and when the call
# returns the branch is gone.
# It is: rollback(xid) returns without an error and does nothing unless recover() has been called before on the same XAResource. The
# branch stays in doubt and its locks stay. A coordinator that keeps its own list, or that asks on one connection and finishes on another,
# believes that it is done.
# Seen: a fresh connection rolls back without an error, then the branch is still listed and its row locked; a connection that has called
# recover() rolls back and it is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
command -v javac >/dev/null || { echo "javac is missing: install a JDK" >&2; exit 2; }
apt-get download libh2-java >/dev/null 2>&1
version=$(dpkg-deb -f libh2-java_*.deb Version)
dpkg-deb -x libh2-java_*.deb root
cat > Ask.java <<'JAVA'
import java.sql.SQLException;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;
import org.h2.jdbcx.JdbcDataSource;

class Ask {
    record Name(int getFormatId, byte[] getGlobalTransactionId, byte[] getBranchQualifier) implements Xid {}

    static final JdbcDataSource SOURCE = new JdbcDataSource();

    static int listed(XAResource resource) throws Exception {
        return resource.recover(XAResource.TMSTARTRSCAN | XAResource.TMENDRSCAN).length;
    }

    static int insert() throws Exception {
        try (var connection = SOURCE.getConnection(); var statement = connection.createStatement()) {
            statement.executeUpdate("insert into item values (1)");
            return 0;
        } catch (SQLException error) {
            return error.getErrorCode();
        }
    }

    public static void main(String[] arguments) throws Exception {
        SOURCE.setURL("jdbc:h2:./data");
        var name = new Name(1, "order-1".getBytes(), "stock".getBytes());
        if (arguments[0].equals("prepare")) {
            try (var plain = SOURCE.getConnection(); var statement = plain.createStatement()) {
                statement.execute("create table item (id integer primary key)");
            }
            var connection = SOURCE.getXAConnection();
            var resource = connection.getXAResource();
            resource.start(name, XAResource.TMNOFLAGS);
            connection.getConnection().createStatement().executeUpdate("insert into item values (1)");
            resource.end(name, XAResource.TMSUCCESS);
            System.out.println("prepare() answers " + (resource.prepare(name) == XAResource.XA_OK ? "XA_OK" : "something else"));
            System.out.flush();
            Runtime.getRuntime().halt(0);
        }
        var observer = SOURCE.getXAConnection().getXAResource();
        System.out.println("after the restart " + listed(observer) + " listed");
        SOURCE.getXAConnection().getXAResource().rollback(name);
        System.out.println("rollback() by a fresh connection: no error, " + listed(observer) + " listed, an insert of the row answers " + insert());
        observer.rollback(name);
        System.out.println("rollback() by one that has asked: no error, " + listed(observer) + " listed, an insert of the row answers " + insert());
    }
}
JAVA
jar=root/usr/share/java/h2.jar
timeout 120 javac -cp "$jar" Ask.java
echo "H2 $version"
seen=$(for step in prepare rollback; do timeout 60 java -cp "$jar:." Ask "$step"; done)
echo "$seen"
[[ $version == 2.1.214-* ]]
[ "$seen" = "prepare() answers XA_OK
after the restart 1 listed
rollback() by a fresh connection: no error, 1 listed, an insert of the row answers 50200
rollback() by one that has asked: no error, 0 listed, an insert of the row answers 0" ]

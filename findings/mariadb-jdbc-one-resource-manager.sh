#!/usr/bin/env bash
# MariaDB Connector/J 2.7.6 over MariaDB 10.11 (both Debian 12), two XA connections of one data source.
# One would think: isSameRM() says whether both may work in one branch. That is what the specification has it for: if it is true, the
# second connection joins by start(xid, TMJOIN); otherwise the coordinator gives it a branch of its own.
# It is: isSameRM() is true, and start(xid, TMJOIN) raises XAER_INVAL, as the server knows no JOIN. A coordinator that follows the
# specification cannot use two connections of one data source in one transaction, be it one for orders and one for stock. With a branch
# of its own for the second connection it works.
# Seen: isSameRM() true, TMJOIN raises code -5; two branches prepare and commit, both rows are there.
set -euo pipefail
folder=$(mktemp -d)
trap '[ -z "${server:-}" ] || { kill "$server" && wait "$server"; } || true; rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
command -v javac >/dev/null || { echo "javac is missing: install a JDK" >&2; exit 2; }
apt-get download mariadb-server mariadb-server-core mariadb-client-core libmariadb3 libmariadb-java >/dev/null 2>&1
for package in *.deb; do dpkg-deb -x "$package" root; done
LD_LIBRARY_PATH=$(echo "$folder"/root/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH
mkdir data
chown nobody data
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
timeout 120 root/usr/bin/mariadb-install-db --no-defaults --user=nobody --datadir="$folder/data" --basedir="$folder/root/usr" \
    --auth-root-authentication-method=normal --skip-test-db >/dev/null 2>&1
timeout 300 root/usr/sbin/mariadbd --no-defaults --user=nobody --datadir="$folder/data" --socket="$folder/data/s" --port="$port" \
    --bind-address=127.0.0.1 --lc-messages-dir="$folder/root/usr/share/mysql" --character-sets-dir="$folder/root/usr/share/mysql/charsets" \
    >data/log 2>&1 &
server=$!
for _ in $(seq 300); do [ -S data/s ] && break; sleep 0.2; done
cat > Ask.java <<'JAVA'
import javax.sql.XAConnection;
import javax.transaction.xa.XAException;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;
import org.mariadb.jdbc.MariaDbDataSource;

class Ask {
    record Name(int getFormatId, byte[] getGlobalTransactionId, byte[] getBranchQualifier) implements Xid {}

    static Name branch(String of, String qualifier) {
        return new Name(1, of.getBytes(), qualifier.getBytes());
    }

    static void insert(XAConnection connection, int number) throws Exception {
        try (var statement = connection.getConnection().createStatement()) {
            statement.executeUpdate("insert into shop.item values (" + number + ")");
        }
    }

    public static void main(String[] arguments) throws Exception {
        var source = new MariaDbDataSource("jdbc:mariadb://127.0.0.1:" + arguments[0] + "/?user=root");
        var observer = source.getConnection();
        var statement = observer.createStatement();
        System.out.println("driver " + observer.getMetaData().getDriverVersion() + ", server " + observer.getMetaData().getDatabaseProductVersion());
        statement.execute("create database shop");
        statement.execute("create table shop.item (id integer primary key)");
        var one = source.getXAConnection();
        var two = source.getXAConnection();
        var of_one = one.getXAResource();
        var of_two = two.getXAResource();
        System.out.println("isSameRM(): " + of_one.isSameRM(of_two));
        var joint = branch("order-1", "one");
        of_one.start(joint, XAResource.TMNOFLAGS);
        insert(one, 1);
        try {
            of_two.start(joint, XAResource.TMJOIN);
            System.out.println("start(TMJOIN) is done");
        } catch (XAException error) {
            System.out.println("start(TMJOIN) raises code " + error.errorCode);
        }
        of_one.end(joint, XAResource.TMSUCCESS);
        of_one.rollback(joint);
        var first = branch("order-2", "one");
        var second = branch("order-2", "two");
        of_one.start(first, XAResource.TMNOFLAGS);
        insert(one, 2);
        of_two.start(second, XAResource.TMNOFLAGS);
        insert(two, 3);
        of_one.end(first, XAResource.TMSUCCESS);
        of_two.end(second, XAResource.TMSUCCESS);
        of_one.prepare(first);
        of_two.prepare(second);
        of_one.commit(first, false);
        of_two.commit(second, false);
        var rows = statement.executeQuery("select group_concat(id order by id) from shop.item");
        rows.next();
        System.out.println("rows of two branches: " + rows.getString(1));
        System.exit(0);
    }
}
JAVA
jar=root/usr/share/java/mariadb-java-client.jar
timeout 120 javac -cp "$jar" Ask.java
seen=$(timeout 60 java -cp "$jar:." Ask "$port")
echo "$seen"
[[ $seen == "driver 2.7.6, server 10.11."* ]]
[ "$(tail -n 3 <<<"$seen")" = "isSameRM(): true
start(TMJOIN) raises code -5
rows of two branches: 2,3" ]

//! The descriptions of commands about the connection or the node. [`Session`](super::Session) carries them out.

use super::spec::{ALL_KEYS, Kind, Spec};

pub(super) const COMMANDS: &[Spec] = &[
    Spec::connection("auth", -2, CONNECTION, Kind::Auth).about("connection", "Authenticates the connection."),
    Spec::connection("client", -2, CONNECTION, Kind::Client)
        .container()
        .about("connection", "Names the connection, and tells about all or ends them."),
    Spec::connection("cluster", -2, ANY_STATE, Kind::Cluster)
        .container()
        .about("cluster", "Tells which node leads the shard of which slot."),
    Spec::connection("command", -1, ANY_STATE, Kind::Command).container().about("server", "Tells about the commands."),
    Spec::connection("config", -2, ADMIN, Kind::Config).container().about("server", "Tells or changes the settings."),
    Spec::connection("discard", 1, CONNECTION, Kind::Discard).about("transactions", "Gives up a transaction."),
    Spec::connection("echo", 2, ANY_STATE_FAST, Kind::Echo).about("connection", "Returns its argument."),
    Spec::connection("exec", 1, CONNECTION, Kind::Exec).about("transactions", "Carries out a transaction."),
    Spec::connection("hello", -1, CONNECTION, Kind::Hello).about("connection", "Chooses the version of the protocol."),
    Spec::connection("host:", -1, ANY_STATE, Kind::HttpRequest),
    Spec::connection("info", -1, ANY_STATE, Kind::Info).about("server", "Tells about the node."),
    Spec::connection("latency", -2, ADMIN, Kind::Latency).container().about("server", "Tells how long commands took."),
    Spec::connection("multi", 1, CONNECTION, Kind::Multi).about("transactions", "Begins a transaction."),
    Spec::connection("ping", -1, &["fast"], Kind::Ping).about("connection", "Returns PONG or its argument."),
    Spec::connection("post", -1, ANY_STATE, Kind::HttpRequest),
    Spec::connection("quit", -1, CONNECTION, Kind::Quit).about("connection", "Closes the connection."),
    Spec::connection("readonly", 1, ANY_STATE_FAST, Kind::Readonly)
        .about("cluster", "Reads what this node has applied from now on."),
    Spec::connection("readwrite", 1, ANY_STATE_FAST, Kind::Readwrite)
        .about("cluster", "Reads what is newest in the cluster from now on."),
    Spec::connection("reset", 1, CONNECTION, Kind::Reset).about("connection", "Makes the connection as new."),
    Spec::connection("role", 1, CONNECTION, Kind::Role).about("server", "Returns the node's part in its group."),
    Spec::connection("select", 2, ANY_STATE_FAST, Kind::Select)
        .about("connection", "Chooses the database, of which there is one."),
    Spec::connection("slowlog", -2, ADMIN, Kind::Slowlog)
        .container()
        .about("server", "Tells which commands took long."),
    Spec::connection("unwatch", 1, CONNECTION, Kind::Unwatch).about("transactions", "Forgets the watched keys."),
    Spec::connection("wait", 3, &["noscript"], Kind::Wait)
        .about("generic", "Returns the number of other nodes whose disks have what the connection wrote."),
    Spec::connection("waitaof", 4, &["noscript"], Kind::Waitaof)
        .about("generic", "Returns the number of disks that have what the connection wrote."),
    Spec::connection("watch", -2, CONNECTION, Kind::Watch)
        .keys(ALL_KEYS)
        .about("transactions", "Makes a transaction depend on keys."),
];

const CONNECTION: &[&str] = &["noscript", "loading", "stale", "fast"];
const ANY_STATE: &[&str] = &["loading", "stale"];
const ANY_STATE_FAST: &[&str] = &["loading", "stale", "fast"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];

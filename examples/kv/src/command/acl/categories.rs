//! The categories of commands, as Redis 7.0 has them.

use super::super::spec::Spec;

/// The categories in Redis's order, each with its commands and subcommands. What is not fast is slow.
const CATEGORIES: &[(&str, &str)] = &[
    (
        "keyspace",
        "copy dbsize del dump exists expire expireat expiretime flushall flushdb keys object|encoding object|freq \
     object|help object|idletime object|refcount persist pexpire pexpireat pexpiretime pttl randomkey rename \
     renamenx restore scan touch ttl type unlink",
    ),
    (
        "read",
        "bitcount bitfield_ro bitpos dbsize dump exists expiretime geodist geohash geopos georadius_ro \
     georadiusbymember_ro geosearch get getbit getrange hexists hget hgetall hkeys hlen hmget hrandfield hscan \
     hstrlen hvals keys lcs lindex llen lpos lrange memory|usage mget object|encoding object|freq object|idletime \
     object|refcount pexpiretime pfcount pttl randomkey scan scard sdiff sinter sintercard sismember smembers \
     smismember sort_ro srandmember sscan strlen substr sunion touch ttl type xinfo|consumers xinfo|groups \
     xinfo|stream xlen xpending xrange xread xrevrange zcard zcount zdiff zinter zintercard zlexcount zmscore \
     zrandmember zrange zrangebylex zrangebyscore zrank zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan \
     zscore zunion",
    ),
    (
        "write",
        "append bitfield bitop blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin copy decr decrby del \
     expire expireat flushall flushdb function|delete function|flush function|load function|restore geoadd \
     georadius georadiusbymember geosearchstore getdel getex getset hdel hincrby hincrbyfloat hmset hset hsetnx \
     incr incrby incrbyfloat linsert lmove lmpop lpop lpush lpushx lrem lset ltrim mset msetnx persist pexpire \
     pexpireat pfadd pfmerge psetex rename renamenx restore rpop rpoplpush rpush rpushx sadd sdiffstore set \
     setbit setex setnx setrange sinterstore smove sort spop srem sunionstore unlink xack xadd xautoclaim xclaim \
     xdel xgroup|create xgroup|createconsumer xgroup|delconsumer xgroup|destroy xgroup|setid xreadgroup xsetid \
     xtrim zadd zdiffstore zincrby zinterstore zmpop zpopmax zpopmin zrangestore zrem zremrangebylex \
     zremrangebyrank zremrangebyscore zunionstore",
    ),
    (
        "set",
        "sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove sort sort_ro \
     spop srandmember srem sscan sunion sunionstore",
    ),
    (
        "sortedset",
        "bzmpop bzpopmax bzpopmin sort sort_ro zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard \
     zinterstore zlexcount zmpop zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore \
     zrank zrem zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore \
     zrevrank zscan zscore zunion zunionstore",
    ),
    (
        "list",
        "blmove blmpop blpop brpop brpoplpush lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange lrem lset \
     ltrim rpop rpoplpush rpush rpushx sort sort_ro",
    ),
    (
        "hash",
        "hdel hexists hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset hsetnx hstrlen \
     hvals",
    ),
    (
        "string",
        "append decr decrby get getdel getex getrange getset incr incrby incrbyfloat lcs mget mset msetnx psetex set \
     setex setnx setrange strlen substr",
    ),
    ("bitmap", "bitcount bitfield bitfield_ro bitop bitpos getbit setbit"),
    ("hyperloglog", "pfadd pfcount pfmerge"),
    (
        "geo",
        "geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro geosearch \
     geosearchstore",
    ),
    (
        "stream",
        "xack xadd xautoclaim xclaim xdel xgroup|create xgroup|createconsumer xgroup|delconsumer xgroup|destroy \
     xgroup|help xgroup|setid xinfo|consumers xinfo|groups xinfo|help xinfo|stream xlen xpending xrange xread \
     xreadgroup xrevrange xsetid xtrim",
    ),
    (
        "pubsub",
        "psubscribe publish pubsub|channels pubsub|numpat pubsub|numsub pubsub|shardchannels pubsub|shardnumsub \
     punsubscribe spublish ssubscribe subscribe sunsubscribe unsubscribe",
    ),
    (
        "admin",
        "acl|deluser acl|dryrun acl|getuser acl|list acl|load acl|log acl|save acl|setuser acl|users client|kill \
     client|list client|no-evict client|pause client|unblock client|unpause cluster|addslots \
     cluster|addslotsrange cluster|bumpepoch cluster|count-failure-reports cluster|delslots cluster|delslotsrange \
     cluster|failover cluster|flushslots cluster|forget cluster|meet cluster|replicas cluster|replicate \
     cluster|reset cluster|saveconfig cluster|set-config-epoch cluster|setslot cluster|slaves config|get \
     config|resetstat config|rewrite config|set latency|doctor latency|graph latency|histogram latency|history \
     latency|latest latency|reset role slowlog|get slowlog|len slowlog|reset",
    ),
    (
        "fast",
        "append auth bitfield_ro bzpopmax bzpopmin dbsize decr decrby discard echo exists expire expireat expiretime \
     get getbit getdel getex getset hdel hello hexists hget hincrby hincrbyfloat hlen hmget hmset hset hsetnx \
     hstrlen incr incrby incrbyfloat llen lpop lpush lpushx mget multi persist pexpire pexpireat pexpiretime \
     pfadd ping pttl publish quit readonly readwrite renamenx reset role rpop rpush rpushx sadd scard select \
     setnx sismember smismember smove spop spublish srem strlen time touch ttl type unlink unwatch watch xack \
     xadd xautoclaim xclaim xdel xlen xsetid zadd zcard zcount zincrby zlexcount zmscore zpopmax zpopmin zrank \
     zrem zrevrank zscore",
    ),
    ("slow", ""),
    ("blocking", "blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin waitaof xread xreadgroup"),
    (
        "dangerous",
        "acl|deluser acl|dryrun acl|getuser acl|list acl|load acl|log acl|save acl|setuser acl|users client|kill \
     client|list client|no-evict client|pause client|unblock client|unpause cluster|addslots \
     cluster|addslotsrange cluster|bumpepoch cluster|count-failure-reports cluster|delslots cluster|delslotsrange \
     cluster|failover cluster|flushslots cluster|forget cluster|meet cluster|replicas cluster|replicate \
     cluster|reset cluster|saveconfig cluster|set-config-epoch cluster|setslot cluster|slaves config|get \
     config|resetstat config|rewrite config|set flushall flushdb info keys latency|doctor latency|graph \
     latency|histogram latency|history latency|latest latency|reset restore role slowlog|get slowlog|len \
     slowlog|reset sort sort_ro",
    ),
    (
        "connection",
        "auth client|caching client|getname client|getredir client|help client|id client|info client|kill client|list \
     client|no-evict client|pause client|reply client|setname client|tracking client|trackinginfo client|unblock \
     client|unpause command command|count command|docs command|getkeys command|getkeysandflags command|help \
     command|info command|list echo hello ping quit readonly readwrite reset select wait waitaof",
    ),
    ("transaction", "discard exec multi unwatch watch"),
    (
        "scripting",
        "eval eval_ro evalsha evalsha_ro fcall fcall_ro function|delete function|dump function|flush function|help \
     function|kill function|list function|load function|restore function|stats script|debug script|exists \
     script|flush script|help script|kill script|load",
    ),
];

/// The subcommands of Redis 7.0, also those that there are not here.
const SUBCOMMANDS: &[(&str, &str)] = &[
    ("acl", "cat deluser dryrun genpass getuser help list load log save setuser users whoami"),
    (
        "client",
        "caching getname getredir help id info kill list no-evict pause reply setname tracking trackinginfo unblock \
     unpause",
    ),
    (
        "cluster",
        "addslots addslotsrange bumpepoch count-failure-reports countkeysinslot delslots delslotsrange failover \
     flushslots forget getkeysinslot help info keyslot links meet myid nodes replicas replicate reset saveconfig \
     set-config-epoch setslot shards slaves slots",
    ),
    ("command", "count docs getkeys getkeysandflags help info list"),
    ("config", "get help resetstat rewrite set"),
    ("function", "delete dump flush help kill list load restore stats"),
    ("latency", "doctor graph help histogram history latest reset"),
    ("memory", "doctor help malloc-stats purge stats usage"),
    ("object", "encoding freq help idletime refcount"),
    ("pubsub", "channels help numpat numsub shardchannels shardnumsub"),
    ("script", "debug exists flush help kill load"),
    ("slowlog", "get help len reset"),
    ("xgroup", "create createconsumer delconsumer destroy help setid"),
    ("xinfo", "consumers groups help stream"),
];

/// Commands of Redis 7.0 that there are not here. A rule may name them, so that one that was written for Redis is
/// taken.
const ABSENT: &str = "asking bgrewriteaof bgsave debug failover lastsave lolwut migrate module monitor move pfdebug pfselftest \
     psync replconf replicaof restore-asking save shutdown slaveof swapdb sync";

/// The names of all categories.
pub(super) fn categories() -> impl Iterator<Item = &'static str> {
    CATEGORIES.iter().map(|(name, _)| *name)
}

/// Returns true if a command, or a command with its subcommand, is of a category.
pub(in crate::command) fn is_of(name: &str, category: &str) -> bool {
    let is_listed = |category: &str| {
        let known = CATEGORIES.iter().find(|(known, _)| *known == category);
        known.is_some_and(|(_, names)| names.split_ascii_whitespace().any(|listed| listed == name))
    };
    if category == "slow" { !is_listed("fast") } else { is_listed(category) }
}

/// The commands and subcommands of a category that there are here.
pub(super) fn members(category: &str) -> Vec<String> {
    let subcommands = |spec: &Spec| {
        let known = SUBCOMMANDS.iter().find(|(container, _)| *container == spec.name);
        let names = known.map_or("", |(_, names)| names).split_ascii_whitespace();
        names.map(|name| format!("{}|{name}", spec.name)).collect::<Vec<_>>()
    };
    let all = Spec::listed().flat_map(|spec| std::iter::once(spec.name.to_owned()).chain(subcommands(spec)));
    all.filter(|name| is_of(name, category)).collect()
}

/// Returns true if a rule may name this: a category (`@read`), a command, or a command with its subcommand.
pub(super) fn is_known(name: &str) -> bool {
    let is_among = |names: &str, name: &str| names.split_ascii_whitespace().any(|known| known == name);
    match (name.strip_prefix('@'), name.split_once('|')) {
        (Some(category), _) => categories().any(|known| known == category),
        (None, Some((container, name))) => {
            SUBCOMMANDS.iter().any(|(known, names)| *known == container && is_among(names, name))
        }
        (None, None) => is_among(ABSENT, name) || Spec::find(name.as_bytes()).is_some_and(Spec::is_listed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::spec::Action;
    use super::*;

    #[test]
    fn every_command_is_of_a_kind() {
        for spec in Spec::listed() {
            let is = |category| is_of(spec.name, category);
            assert!(is("fast") != is("slow"), "{}", spec.name);
            if matches!(spec.action, Action::Read(_)) && !is("scripting") && !spec.is_container {
                // GEORADIUS and SORT change the store with an option alone.
                assert!(is("read") || spec.name == "time", "{}", spec.name);
            }
        }
        assert!(is_of("config|set", "dangerous") && !is_of("client|setname", "dangerous"));
        assert!(is_known("@read") && is_known("config|get") && is_known("debug") && is_known("get"));
        assert!(!is_known("@all") && !is_known("config|nosuch") && !is_known("nosuch") && !is_known("get|x"));
        assert_eq!(members("hyperloglog"), ["pfadd", "pfcount", "pfmerge"]);
    }
}

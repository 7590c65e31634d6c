use bytes::Bytes;

use crate::command::apply;
use crate::entry::EntryWriter;
use crate::resp::Version;
use crate::store::Store;

fn eval(store: &mut Store, script: &str) -> String {
    let replies = apply(store, 1_000, &entry(&[b"eval", script.as_bytes(), b"0"])).unwrap();
    String::from_utf8(replies.to_vec()).unwrap()
}

fn entry(arguments: &[&[u8]]) -> Bytes {
    let mut entry = EntryWriter::new(Version::Resp2, 5_000, 77, 0);
    entry.command(arguments);
    entry.finish()
}

#[test]
fn a_script_that_does_not_end_is_ended() {
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function f() return f() end return f()",
        "local t = {} while true do t[#t + 1] = pcall(error) end",
        "redis.call('set', 'a', '1') for i = 1, 1e12 do end",
        "local t = {} for i = 1, 1e5 do t[i] = i end while true do table.sort(t) end",
        "local s = ('x'):rep(1e6) while true do s:upper() end",
        "local t = {} for i = 1, 1e5 do t[i] = 'x' end while true do table.concat(t) end",
        "local s = '[' .. ('1,'):rep(1e6) .. '1]' while true do cjson.decode(s) end",
        "while true do ('x'):rep(1e6) end",
        "local t = {} for i = 1, 1e5 do t[i] = i end while true do cjson.encode(t) end",
        "local t = {} for i = 1, 1e5 do t[i] = i end while true do cmsgpack.pack(t) end",
        "local s = '\\221\\0\\1\\134\\160' .. ('\\1'):rep(1e5) while true do cmsgpack.unpack(s) end",
        "local s = ('x'):rep(1e6) while true do struct.unpack('s', s .. '\\0') end",
        "local s = ('x'):rep(1e6) while true do struct.pack('s', s) end",
    ] {
        let mut store = Store::new();
        let reply = eval(&mut store, script);
        assert!(reply.starts_with("-ERR the script "), "{script}: {reply}");
        assert_eq!(eval(&mut store, "return 1"), ":1\r\n");
    }
}

#[test]
fn a_script_that_needs_too_much_memory_is_ended() {
    for script in ["return #string.rep('x', 1e8)", "local s = 'x' while true do s = s .. s end"] {
        let reply = eval(&mut Store::new(), script);
        assert!(reply.starts_with("-ERR not enough memory"), "{script}: {reply}");
    }
}

#[test]
fn a_search_that_could_take_long_is_refused() {
    let harmless = "return ('aaaa'):rep(100):find('a*b')";
    assert_eq!(eval(&mut Store::new(), harmless), "$-1\r\n");
    let reply = eval(&mut Store::new(), "return ('a'):rep(10000):match('x*y*z*')");
    assert!(reply.contains("the pattern could take too long"), "{reply}");
}

/// What is done with a script's result and its error runs nothing of the script, since nothing bounds it any more.
#[test]
fn nothing_of_a_script_runs_after_its_end() {
    let endless = "setmetatable({}, { __index = function() while true do end end, __tostring = function() while true do end end })";
    assert!(eval(&mut Store::new(), &format!("error({endless})")).starts_with("-ERR table"));
    assert_eq!(eval(&mut Store::new(), &format!("return {endless}")), "*0\r\n");
    assert_eq!(eval(&mut Store::new(), &format!("return cjson.encode({endless})")), "$2\r\n{}\r\n");
}

#[test]
fn a_result_that_is_much_longer_than_its_tables_is_refused() {
    let tables = "local t = { 'leaf' } for i = 1, 40 do t = { t, t } end";
    let reply = eval(&mut Store::new(), &format!("{tables} return t"));
    assert_eq!(reply, "-ERR the reply would be longer than 128 MiB\r\n");
    let reply = eval(&mut Store::new(), &format!("{tables} return cjson.encode(t)"));
    assert!(reply.contains("a text of more than 16 MiB"), "{reply}");
    let wide = "local t = ('x'):rep(1e5) for i = 1, 4 do t = { t, t, t, t, t, t, t, t } end";
    let reply = eval(&mut Store::new(), &format!("{wide} return cmsgpack.pack(t)"));
    assert!(reply.contains("cmsgpack makes at most 16 MiB"), "{reply}");
}

/// What a script reads may come from anywhere.
#[test]
fn lengths_and_depths_that_are_only_said_cost_nothing() {
    for (script, answer) in [
        ("return select(2, pcall(cmsgpack.unpack, '\\221\\255\\255\\255\\255'))", "$23\r\nMissing bytes in input."),
        ("return select(2, pcall(cmsgpack.unpack, '\\223\\255\\255\\255\\255'))", "$23\r\nMissing bytes in input."),
        ("return select(2, pcall(cmsgpack.unpack, '\\219\\255\\255\\255\\255'))", "$23\r\nMissing bytes in input."),
        ("return select(2, pcall(cmsgpack.unpack, ('\\145'):rep(1e6)))", "$47\r\nstack overflow"),
        ("return select(2, pcall(struct.unpack, 'c2147483647', 'x'))", "$46\r\nbad argument #2"),
        ("return select(2, pcall(struct.unpack, 'c99999999999', 'x'))", "$22\r\nintegral size overflow"),
    ] {
        let reply = eval(&mut Store::new(), script);
        assert!(reply.starts_with(answer), "{script}: {reply}");
    }
}

#[test]
fn a_script_has_no_way_out() {
    for name in [
        "os",
        "io",
        "debug",
        "package",
        "require",
        "load",
        "loadstring",
        "dofile",
        "loadfile",
        "print",
        "collectgarbage",
        "getfenv",
        "setfenv",
        "newproxy",
        "coroutine",
        "host",
    ] {
        let reply = eval(&mut Store::new(), &format!("return {name}"));
        assert!(reply.contains("nonexistent global variable"), "{name}: {reply}");
    }
}

/// Numbers that are drawn, time, and what addresses could decide: all follow from the entry.
#[test]
fn replicas_agree_on_what_a_script_does() {
    let script = "redis.call('set', 'r', math.random()) redis.call('set', 'n', math.random(1, 1000000))
        redis.call('set', 't', redis.call('time')[1] .. tostring({}) .. tostring(print == nil))
        for i = 1, 300 do redis.call('sadd', 's', 'm' .. i) end
        redis.call('rpush', 'l', redis.call('spop', 's'), redis.call('srandmember', 's'), redis.call('randomkey'))
        local t = {} for i = 1, 50 do t['k' .. i] = i end
        for key in pairs(t) do redis.call('rpush', 'order', key) end
        redis.call('set', 'j', cjson.encode(t)) return redis.call('lrange', 'l', 0, -1)";
    let script = script.replace(" .. tostring(print == nil)", "");
    let (mut one, mut other) = (Store::new(), Store::new());
    let reply = eval(&mut one, &script);
    assert!(reply.starts_with("*3\r\n"), "{reply}");
    assert_eq!(reply, eval(&mut other, &script));
    assert_eq!(one.digest(), other.digest());
    assert!(one.text(1_000, b"t").unwrap().unwrap().starts_with(b"1table"));
}

#[test]
fn scripts_that_are_known_are_part_of_the_state() {
    let mut store = Store::new();
    let before = store.digest();
    apply(&mut store, 0, &entry(&[b"script", b"load", b"return 7"])).unwrap();
    assert_ne!(store.digest(), before);
    let mut bytes = Vec::new();
    store.snapshot().write(&mut bytes).unwrap();
    let mut restored = Store::restore(&mut &bytes[..]).unwrap();
    assert_eq!(restored.digest(), store.digest());
    let call = entry(&[b"evalsha", super::sha1_hex(b"return 7").as_bytes(), b"0"]);
    assert_eq!(&apply(&mut restored, 0, &call).unwrap()[..], b":7\r\n");
    apply(&mut restored, 0, &entry(&[b"flushall"])).unwrap();
    assert_eq!(&apply(&mut restored, 0, &call).unwrap()[..], b":7\r\n", "scripts are no keys");
    apply(&mut restored, 0, &entry(&[b"script", b"flush"])).unwrap();
    assert!(apply(&mut restored, 0, &call).unwrap().starts_with(b"-NOSCRIPT "));
    assert_eq!(restored.digest(), before);
}

#[test]
fn scripts_beyond_what_is_kept_run_and_are_not_kept() {
    let mut store = Store::new();
    let large = "x".repeat(400_000);
    for number in 0..50 {
        let script = format!("return {number} --{large}");
        assert_eq!(eval(&mut store, &script), format!(":{number}\r\n"));
    }
    let refused = apply(&mut store, 0, &entry(&[b"script", b"load", format!("--{large}{large}").as_bytes()])).unwrap();
    assert!(refused.starts_with(b"-ERR too many scripts"), "{refused:?}");
}

/// Calls a function of a library that has this text.
fn call(store: &mut Store, body: &str, name: &str) -> String {
    let code = format!("#!lua name=lib\n{body}");
    let load = entry(&[b"function", b"load", b"replace", code.as_bytes()]);
    let loaded = apply(store, 1_000, &load).unwrap();
    assert_eq!(&loaded[..], b"$3\r\nlib\r\n", "{body}");
    let replies = apply(store, 1_000, &entry(&[b"fcall", name.as_bytes(), b"0"])).unwrap();
    String::from_utf8(replies.to_vec()).unwrap()
}

/// Otherwise a replica that was restored from a snapshot would answer differently.
#[test]
fn nothing_is_left_over_from_one_call_of_a_function_to_the_next() {
    let mut store = Store::new();
    let body = "local count = 0 redis.register_function('f', function() count = count + 1 return count end)";
    assert_eq!(call(&mut store, body, "f"), ":1\r\n");
    let again = apply(&mut store, 1_000, &entry(&[b"fcall", b"f", b"0"])).unwrap();
    assert_eq!(&again[..], b":1\r\n");
}

#[test]
fn a_function_that_does_not_end_is_ended_and_so_is_a_library() {
    let mut store = Store::new();
    let reply = call(&mut store, "redis.register_function('f', function() while true do end end)", "f");
    assert!(reply.starts_with("-ERR the script takes more than "), "{reply}");
    let load = entry(&[b"function", b"load", b"#!lua name=other\nwhile true do end"]);
    let reply = apply(&mut store, 1_000, &load).unwrap();
    assert!(reply.starts_with(b"-ERR the script takes more than "), "{reply:?}");
    assert_eq!(store.libraries().len(), 1);
}

#[test]
fn a_library_gives_no_commands_while_it_is_loaded() {
    let mut store = Store::new();
    for body in ["redis.call('set', 'k', '1')", "redis.pcall('set', 'k', '1')", "server.call('get', 'k')"] {
        let code = format!("#!lua name=lib\n{body} redis.register_function('f', function() end)");
        let reply = apply(&mut store, 1_000, &entry(&[b"function", b"load", code.as_bytes()])).unwrap();
        assert!(reply.starts_with(b"-ERR Error registering functions: "), "{reply:?}");
    }
    assert_eq!((store.len(1_000), store.libraries().len()), (0, 0));
}

#[test]
fn libraries_are_bounded() {
    let mut store = Store::new();
    let padding = "-".repeat(500_000);
    let refused = (0..100).find(|number| {
        let code = format!("#!lua name=l{number}\nredis.register_function('f{number}', function() end) --{padding}");
        let reply = apply(&mut store, 1_000, &entry(&[b"function", b"load", code.as_bytes()])).unwrap();
        reply.starts_with(b"-ERR too many libraries")
    });
    assert_eq!(refused, Some(33));
}

#[test]
fn libraries_are_part_of_the_state() {
    let mut store = Store::new();
    let empty = store.digest();
    let body = "redis.register_function{function_name='f', callback=function() return 'x' end, flags={'no-writes'}, \
                description='d'} redis.register_function('g', function() end)";
    call(&mut store, body, "f");
    assert_ne!(store.digest(), empty);
    let mut bytes = Vec::new();
    store.snapshot().write(&mut bytes).unwrap();
    let mut restored = Store::restore(&mut &bytes[..]).unwrap();
    assert_eq!(restored.digest(), store.digest());
    assert_eq!(restored.libraries().get("lib"), store.libraries().get("lib"));
    let replies = apply(&mut restored, 1_000, &entry(&[b"fcall_ro", b"f", b"0"])).unwrap();
    assert_eq!(&replies[..], b"$1\r\nx\r\n");
    apply(&mut store, 1_000, &entry(&[b"function", b"delete", b"lib"])).unwrap();
    assert_eq!(store.digest(), empty);
}

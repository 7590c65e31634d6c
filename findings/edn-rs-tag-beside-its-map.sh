#!/usr/bin/env bash
# edn-rs 0.19.0 (crates.io), reading an operation as Jepsen's own records are printed, `#jepsen.history.Op{:index 0, ...}`.
# One would think: a brace ends the tag, as the format's description says of delimiters, so that the tagged value is the whole map; a
# reader that cannot do this refuses.
# It is: the tag runs to the next blank. Its name is `jepsen.history.Op{:index`, its value the number behind it, and the rest of the
# operation is dropped without an error. A blank before the brace, which Clojure does not print, gives the map.
# Seen: without the blank the value is no map and has no :type; with it both are there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cd "$folder"
cat > Cargo.toml <<'TOML'
[package]
name = "read"
version = "0.1.0"
edition = "2021"

[dependencies]
edn-rs = "=0.19.0"

[profile.dev]
debug = false
TOML
cat > src/main.rs <<'RUST'
use edn_rs::Edn;

fn main() {
    for text in ["#jepsen.history.Op{:index 0, :type :ok, :f :read}", "#jepsen.history.Op {:index 0, :type :ok, :f :read}"] {
        match text.parse::<Edn>() {
            Ok(Edn::Tagged(tag, value)) => {
                let is_map = matches!(*value, Edn::Map(_));
                println!("{text}\n  tag {tag}, value is a map: {is_map}, has :type: {}", value.get(":type").is_some());
            }
            Ok(other) => println!("{text}\n  no tag: {other}"),
            Err(error) => println!("{text}\n  refused: {error:?}"),
        }
    }
}
RUST
CARGO_TARGET_DIR=target nice -n 10 timeout 500 cargo build --quiet
seen=$(timeout 60 target/debug/read)
echo "$seen"
[ "$seen" = "#jepsen.history.Op{:index 0, :type :ok, :f :read}
  tag jepsen.history.Op{:index, value is a map: false, has :type: false
#jepsen.history.Op {:index 0, :type :ok, :f :read}
  tag jepsen.history.Op, value is a map: true, has :type: true" ]

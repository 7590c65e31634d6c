// keyv: one and many values, with a time to live, and names that are cleared together.
import assert from "node:assert";
import { setTimeout } from "node:timers/promises";
import KeyvRedis from "@keyv/redis";
import Keyv from "keyv";

const adapter = new KeyvRedis(`redis://127.0.0.1:${process.argv[2]}`);
const keyv = new Keyv(adapter, { namespace: "n" });
await keyv.set("a", { x: 1 });
assert.deepEqual(await keyv.get("a"), { x: 1 });
await keyv.set("short", 1, 30);
await setTimeout(200);
assert.equal(await keyv.get("short"), undefined);
await keyv.setMany([{ key: "b", value: 2 }, { key: "c", value: 3 }]);
assert.deepEqual(await keyv.get(["a", "b", "d"]), [{ x: 1 }, 2, undefined]);
assert.equal(await keyv.delete("b"), true);
const names = [];
for await (const [name] of keyv.iterator()) names.push(name);
assert.deepEqual(names.sort(), ["a", "c"]);
await keyv.clear();
assert.equal(await keyv.get("a"), undefined);
await adapter.disconnect();

// express-rate-limit with rate-limit-redis: the sixth request in a minute is refused.
import assert from "node:assert";
import express from "express";
import { rateLimit } from "express-rate-limit";
import { RedisStore } from "rate-limit-redis";
import { createClient } from "redis";
import request from "supertest";

const client = await createClient({ url: `redis://127.0.0.1:${process.argv[2]}` }).connect();
const store = new RedisStore({ sendCommand: (...words) => client.sendCommand(words) });
const app = express();
app.use(rateLimit({ windowMs: 60_000, limit: 5, store, keyGenerator: () => "ann" }));
app.get("/", (_, answer) => answer.send("ok"));
const seen = [];
for (let number = 0; number < 7; number++) seen.push((await request(app).get("/")).status);
assert.deepEqual(seen, [200, 200, 200, 200, 200, 429, 429]);
await store.resetKey("ann");
assert.equal((await request(app).get("/")).status, 200);
client.destroy();

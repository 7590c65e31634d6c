// connect-redis under express-session: sessions live, are listed and are cleared.
import assert from "node:assert";
import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { createClient } from "redis";
import request from "supertest";

const client = await createClient({ url: `redis://127.0.0.1:${process.argv[2]}` }).connect();
const store = new RedisStore({ client });
const app = express();
app.use(session({ store, secret: "s", resave: false, saveUninitialized: false }));
app.get("/", (visit, answer) => {
  visit.session.visits = (visit.session.visits ?? 0) + 1;
  answer.send(`${visit.session.visits}`);
});
const visitor = request.agent(app);
assert.equal((await visitor.get("/")).text, "1");
assert.equal((await visitor.get("/")).text, "2");
assert.equal((await request(app).get("/")).text, "1");
assert.equal((await store.ids()).length, 2);
assert.equal(await store.length(), 2);
await store.clear();
assert.equal((await visitor.get("/")).text, "1");
client.destroy();

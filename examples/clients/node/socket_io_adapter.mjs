// The Redis adapter of socket.io: two servers, a room over both of them, and who is in it.
import assert from "node:assert";
import { once } from "node:events";
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";
import { io } from "socket.io-client";

const url = `redis://127.0.0.1:${process.argv[2]}`;
const clients = [];
const started = async () => {
  const [publisher, subscriber] = await Promise.all([createClient({ url }).connect(), createClient({ url }).connect()]);
  clients.push(publisher, subscriber);
  const http = createServer().listen(0, "127.0.0.1");
  await once(http, "listening");
  const server = new Server(http, { adapter: createAdapter(publisher, subscriber) });
  server.on("connection", (socket) => socket.join("room"));
  return { server, url: `http://127.0.0.1:${http.address().port}` };
};
const [a, b] = await Promise.all([started(), started()]);
const visitors = [io(a.url), io(b.url)];
await Promise.all(visitors.map((visitor) => once(visitor, "connect")));
while ((await a.server.in("room").fetchSockets()).length < 2);
const heard = Promise.all(visitors.map((visitor) => once(visitor, "news")));
b.server.to("room").emit("news", "hello");
assert.deepEqual(await heard, [["hello"], ["hello"]]);
a.server.in("room").disconnectSockets(true);
await Promise.all(visitors.map((visitor) => visitor.disconnected || once(visitor, "disconnect")));
await Promise.all([a.server.close(), b.server.close()]);
await Promise.all(clients.map((client) => client.close()));

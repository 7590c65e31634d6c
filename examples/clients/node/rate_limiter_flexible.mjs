// rate-limiter-flexible: points, penalties, blocks, and a queue.
import assert from "node:assert";
import Redis from "ioredis";
import { RateLimiterQueue, RateLimiterRedis } from "rate-limiter-flexible";

const storeClient = new Redis(Number(process.argv[2]), { enableOfflineQueue: true });
const limiter = new RateLimiterRedis({ storeClient, points: 3, duration: 60, blockDuration: 60 });
await limiter.consume("ann", 2);
assert.equal((await limiter.get("ann")).remainingPoints, 1);
await limiter.reward("ann", 1);
await limiter.consume("ann", 2);
await assert.rejects(limiter.consume("ann"), (refused) => refused.msBeforeNext > 1000);
await limiter.consume("bob");
assert.equal((await limiter.penalty("bob", 1)).consumedPoints, 2);
assert.equal(await limiter.delete("ann"), true);
await limiter.consume("ann", 3);
const queue = new RateLimiterQueue(new RateLimiterRedis({ storeClient, keyPrefix: "q", points: 5, duration: 1 }));
await Promise.all(Array.from({ length: 8 }, () => queue.removeTokens(1)));
storeClient.disconnect();

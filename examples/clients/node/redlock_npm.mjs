// redlock: a lock that is waited for, lengthened and given back.
import assert from "node:assert";
import Redis from "ioredis";
import Redlock from "redlock";

const client = new Redis(Number(process.argv[2]));
const impatient = new Redlock([client], { retryCount: 0 });
const patient = new Redlock([client], { retryCount: 100, retryDelay: 50 });
const first = await impatient.lock("door", 10_000);
await assert.rejects(impatient.lock("door", 1_000));
const waits = patient.lock("door", 10_000);
await (await first.extend(10_000)).unlock();
await (await waits).unlock();
client.disconnect();

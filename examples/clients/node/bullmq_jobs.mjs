// bullmq: jobs that succeed, retry, wait, have priorities, repeat, and a tree of them.
import assert from "node:assert";
import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";

const connection = { port: Number(process.argv[2]), maxRetriesPerRequest: null };
const queue = new Queue("work", { connection });
const events = new QueueEvents("work", { connection });
await events.waitUntilReady();
let tries = 0;
const worker = new Worker("work", async (job) => {
  if (job.name === "third" && ++tries < 3) throw new Error("not yet");
  if (job.name === "parent") return Object.values(await job.getChildrenValues()).reduce((a, b) => a + b, 0);
  return job.data.number + 1;
}, { connection, concurrency: 4 });
const jobs = await queue.addBulk(Array.from({ length: 20 }, (_, number) => ({ name: "add", data: { number } })));
const sums = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 20_000)));
assert.deepEqual(sums, Array.from({ length: 20 }, (_, number) => number + 1));
const third = await queue.add("third", { number: 6 }, { attempts: 5, backoff: 10 });
const later = await queue.add("add", { number: 1 }, { delay: 300, priority: 2 });
assert.equal(await third.waitUntilFinished(events, 20_000), 7);
assert.equal(await later.waitUntilFinished(events, 20_000), 2);
const flow = new FlowProducer({ connection });
const children = [1, 2].map((number) => ({ name: "add", queueName: "work", data: { number } }));
const { job: parent } = await flow.add({ name: "parent", queueName: "work", children });
assert.equal(await parent.waitUntilFinished(events, 20_000), 5);
await queue.upsertJobScheduler("tick", { every: 60_000 });
assert.equal((await queue.getJobSchedulers()).length, 1);
assert.equal((await queue.getJobCounts("completed")).completed >= 23, true);
await Promise.all([worker.close(), events.close(), flow.close(), queue.close()]);

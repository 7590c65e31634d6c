// bull: jobs that succeed, retry and wait.
import assert from "node:assert";
import Queue from "bull";

const queue = new Queue("work", { redis: { port: Number(process.argv[2]) } });
let tries = 0;
queue.process("add", 4, async (job) => job.data.number + 1);
queue.process("third", async () => {
  if (++tries < 3) throw new Error("not yet");
  return "done";
});
const jobs = await Promise.all(Array.from({ length: 20 }, (_, number) => queue.add("add", { number })));
const sums = await Promise.all(jobs.map((job) => job.finished()));
assert.deepEqual(sums, Array.from({ length: 20 }, (_, number) => number + 1));
assert.equal(await (await queue.add("third", {}, { attempts: 5, backoff: 10 })).finished(), "done");
assert.equal(await (await queue.add("add", { number: 1 }, { delay: 300 })).finished(), 2);
assert.equal(await queue.getCompletedCount(), 22);
await queue.close();

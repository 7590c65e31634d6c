// bee-queue: jobs that succeed, retry and wait, and their events.
import assert from "node:assert";
import { once } from "node:events";
import Queue from "bee-queue";

const queue = new Queue("work", { redis: { port: Number(process.argv[2]) }, activateDelayedJobs: true });
await queue.ready();
let tries = 0;
queue.process(4, async (job) => {
  if (job.data.fails && ++tries < 3) throw new Error("not yet");
  return job.data.number + 1;
});
const jobs = Array.from({ length: 20 }, (_, number) => queue.createJob({ number }));
const ends = jobs.map((job) => once(job, "succeeded"));
await queue.saveAll(jobs);
assert.deepEqual((await Promise.all(ends)).flat(), Array.from({ length: 20 }, (_, number) => number + 1));
const third = queue.createJob({ fails: true, number: 6 }).retries(5);
const later = queue.createJob({ number: 1 }).delayUntil(Date.now() + 300);
const both = Promise.all([once(third, "succeeded"), once(later, "succeeded")]);
await Promise.all([third.save(), later.save()]);
assert.deepEqual((await both).flat(), [7, 2]);
assert.equal((await queue.checkHealth()).succeeded, 22);
await queue.close();

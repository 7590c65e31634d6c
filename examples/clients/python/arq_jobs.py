"""arq: jobs of asyncio, at once and later."""
import asyncio
import sys

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker


async def add(context, a, b):
    return a + b


async def main():
    pool = await create_pool(RedisSettings(port=int(sys.argv[1])))
    jobs = [await pool.enqueue_job("add", number, 1) for number in range(20)]
    assert await pool.enqueue_job("add", 1, 1, _job_id="once") and not await pool.enqueue_job("add", 1, 1, _job_id="once")
    later = await pool.enqueue_job("add", 40, 2, _defer_by=1)
    worker = Worker([add], redis_pool=pool, burst=False, poll_delay=0.1, handle_signals=False)
    running = asyncio.create_task(worker.async_run())
    assert [await job.result(timeout=20) for job in jobs] == list(range(1, 21))
    assert await later.result(timeout=20) == 42
    running.cancel()
    await asyncio.wait([running])


asyncio.run(main())

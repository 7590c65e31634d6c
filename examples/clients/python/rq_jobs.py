"""rq: jobs that succeed, fail and depend on others, in a worker."""
import sys
from operator import truediv

from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import JobStatus

store = Redis(port=int(sys.argv[1]))
queue = Queue("work", connection=store)
good = queue.enqueue(sum, [1, 2, 3], result_ttl=60)
later = queue.enqueue(max, [4, 5], depends_on=good)
bad = queue.enqueue(truediv, 1, 0)
assert len(queue) == 2
SimpleWorker([queue], connection=store).work(burst=True, logging_level="ERROR")
assert good.get_status() == later.get_status() == JobStatus.FINISHED
assert good.return_value() == 6 and later.return_value() == 5
assert bad.get_status() == JobStatus.FAILED and "ZeroDivisionError" in bad.latest_result().exc_string
assert queue.failed_job_registry.count == 1 and queue.finished_job_registry.count == 2

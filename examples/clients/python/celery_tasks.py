"""celery: broker and results in the store: tasks, a group with a callback, one for later."""
import sys

from celery import Celery, chord
from celery.contrib.testing.worker import start_worker

at = f"redis://127.0.0.1:{sys.argv[1]}/0"
app = Celery("tasks", broker=at, backend=at)


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


with start_worker(app, perform_ping_check=False, concurrency=2, pool="threads", loglevel="ERROR"):
    assert [result.get(timeout=20) for result in [add.delay(number, 1) for number in range(20)]] == list(range(1, 21))
    assert chord(add.s(number, number) for number in range(5))(total.s()).get(timeout=20) == 20
    assert add.apply_async((1, 1), countdown=1).get(timeout=20) == 2

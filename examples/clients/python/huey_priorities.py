"""huey with its queue in sorted sets: tasks, a chain, one for later."""
import sys

from huey import PriorityRedisHuey
from huey.consumer import Consumer

tasks = PriorityRedisHuey("tasks", port=int(sys.argv[1]))


@tasks.task(priority=2)
def add(a, b):
    return a + b


consumer = Consumer(tasks, workers=2, scheduler_interval=1)
results = [add(number, 1) for number in range(20)]
chain = tasks.enqueue(add.s(1, 2).then(add, 10))
later = add.schedule((40, 2), delay=1)
consumer.start()
assert [result.get(blocking=True, timeout=20) for result in results] == list(range(1, 21))
assert [step.get(blocking=True, timeout=20) for step in chain] == [3, 13]
assert later.get(blocking=True, timeout=20) == 42
consumer.stop(graceful=True)
assert len(tasks) == 0

"""dramatiq: actors that retry, with their results."""
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

at = f"redis://127.0.0.1:{sys.argv[1]}/0"
broker = RedisBroker(url=at)
broker.add_middleware(Results(backend=RedisBackend(url=at)))
dramatiq.set_broker(broker)
tries = []


@dramatiq.actor(store_results=True)
def add(a, b):
    return a + b


@dramatiq.actor(store_results=True, max_retries=3, min_backoff=10, max_backoff=50)
def third_time(value):
    tries.append(value)
    if len(tries) < 3:
        raise RuntimeError("not yet")
    return value


messages = [add.send(number, 1) for number in range(20)]
worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=2)
worker.start()
assert [message.get_result(block=True, timeout=20_000) for message in messages] == list(range(1, 21))
message = third_time.send(7)
broker.join(third_time.queue_name, timeout=20_000)
assert message.get_result(block=True, timeout=20_000) == 7 and len(tries) == 3
worker.stop()

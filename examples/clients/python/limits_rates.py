"""limits, under Flask-Limiter: three strategies that count in the store."""
import sys

from limits import parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

storage = storage_from_string(f"redis://127.0.0.1:{sys.argv[1]}")
assert storage.check()
for strategy in FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter:
    limiter, rule = strategy(storage), parse("5/hour")
    name = strategy.__name__
    assert [limiter.hit(rule, name) for _ in range(7)] == [True] * 5 + [False] * 2, name
    assert not limiter.test(rule, name) and limiter.get_window_stats(rule, name).remaining == 0
    limiter.clear(rule, name)
    assert limiter.hit(rule, name) or strategy is SlidingWindowCounterRateLimiter

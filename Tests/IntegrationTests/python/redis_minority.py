"""A node that has lost its cluster, as clients of Redis see it; prints one line for each claim.

Called with: PORT PROCESSES, those of the other nodes.
"""
import os
import signal
import sys
import time

import redis

port = int(sys.argv[1])


def client(user, password):
    return redis.Redis(port=port, username=user, password=password, socket_timeout=10, retry=None)


def timed(call):
    """The answer, or the error, which must come within a second; one more for a machine that is busy."""
    begin = time.monotonic()
    try:
        answer = call()
    except redis.RedisError as error:
        answer = error
    took = time.monotonic() - begin
    assert took < 2, f"{took} s for {answer!r}"
    return answer


builder, keeper, teller = client("builder", "correct"), client("keeper", "kept"), client("teller", "told")
deadline = time.monotonic() + 20
while not (builder.set("begin", "1") and builder.get("begin")):
    assert time.monotonic() < deadline, "the cluster keeps nothing"
for store in (keeper, teller):
    assert store.set("s", "1") and store.get("s") == b"1" and store.hset("table", "a", "0") == 1
for process in sys.argv[2].split(","):
    os.kill(int(process), signal.SIGKILL)
# Until its leases have ended and its elections are in vain the node may still know.
deadline = time.monotonic() + 20
while timed(lambda: builder.get("begin")) is not None:
    assert time.monotonic() < deadline, "the node still tells what names mean"
for number in range(3):
    assert timed(lambda: builder.set(f"lost{number}", "1")) is True
    assert timed(lambda: builder.set(f"lost{number}", "1", ex=10)) is True
    assert timed(lambda: builder.get(f"lost{number}")) is None
print("ok a cache answers OK and finds nothing", flush=True)
for call in (lambda: keeper.set("s", "2"), lambda: keeper.get("s"), lambda: keeper.hset("table", "a", "1")):
    answer = timed(call)
    assert isinstance(answer, redis.RedisError), answer
print("ok a store says that it cannot", flush=True)
for call, known in (
    (lambda: teller.get("s"), b"1"),
    (lambda: teller.hget("table", "a"), b"0"),
    (lambda: teller.get("never"), None),
):
    answer = timed(call)
    assert answer == known, answer
answer = timed(lambda: teller.set("s", "2"))
assert isinstance(answer, redis.RedisError), answer
print("ok a store that takes stale answers is told what the node knew", flush=True)
assert timed(builder.ping) is True
print("done")

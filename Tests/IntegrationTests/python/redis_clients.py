"""Clients of Redis before the doors of real nodes; prints one line for each claim.

Called with: DIRECTORY PORTS. The first node speaks TLS, the others plain text; all have the users that RedisDoors.swift
writes. The directory holds ca.pem, tester.pem and tester.key.
"""
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import redis
from redis.cache import CacheConfig

directory = sys.argv[1]
ports = [int(port) for port in sys.argv[2].split(",")]
authority = f"{directory}/ca.pem"


def claim(text):
    print("ok", text, flush=True)


def client(node, user="builder", password="correct", **more):
    if node == 0:
        more = {"ssl": True, "ssl_ca_certs": authority, **more}
    return redis.Redis(
        port=ports[node], username=user, password=password, protocol=3, socket_timeout=10,
        socket_connect_timeout=10, retry=None, **more)


def refused(call, kind, words):
    try:
        answer = call()
    except kind as error:
        assert words in str(error), error
        return
    raise AssertionError(f"{answer!r} instead of {words}")


def eventually(call, what):
    deadline = time.monotonic() + 20
    while True:
        answer = call()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def run(*command, **environment):
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


builders = [client(node) for node in range(3)]
for one in builders:
    # A node that has no leader yet keeps nothing.
    eventually(lambda: one.set("begin", "1") and one.get("begin") == b"1", "a cluster that keeps values")
hello = builders[1].execute_command("HELLO", "3")
assert hello[b"server"] == b"redis" and hello[b"version"].startswith(b"7.4."), hello
claim("every door answers, with TLS and without")

refused(lambda: client(1, password="wrong").get("x"), redis.AuthenticationError, "invalid username-password")
refused(lambda: client(1, user="nobody").get("x"), redis.AuthenticationError, "invalid username-password")
refused(lambda: redis.Redis(port=ports[1]).get("x"), redis.AuthenticationError, "already authenticated")
reader = client(2, user="reader", password="right")
refused(lambda: reader.set("x", "1"), redis.exceptions.NoPermissionError, "no permissions")
refused(lambda: reader.delete("begin"), redis.exceptions.NoPermissionError, "no permissions")
assert reader.get("begin") == b"1"
claim("who may not write does not write, and a wrong password is told")

values = {
    b"binary \x00\r\n\xff": bytes(range(256)) * 8, b"empty": b"", b"a mebibyte": os.urandom(1 << 20),
    b"three": os.urandom(3 << 20)}
for number, (key, value) in enumerate(values.items()):
    assert builders[number % 3].set(key, value)
    for one in builders:
        assert one.get(key) == value, (key, one)
claim("what is set at one node is found at every other")

pipeline = builders[0].pipeline(transaction=False)
for number in range(200):
    pipeline.set(f"p{number}", number)
    pipeline.get(f"p{number}")
answers = pipeline.execute()
assert answers == [answer for number in range(200) for answer in (True, str(number).encode())]
with builders[1].pipeline(transaction=True) as transaction:
    assert transaction.set("t", "1").incr("t").get("t").execute() == [True, 2, b"2"]
assert builders[2].mget(["p1", "none", "p199"]) == [b"1", None, b"199"]
claim("pipelines and transactions are answered in order")

threads = [threading.Thread(target=lambda one=one: [one.incr("counter") for _ in range(20)]) for one in builders]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert builders[0].get("counter") == b"60"
claim("counters are exact through three nodes")

caching = client(1, cache_config=CacheConfig())
builders[2].set("cached", "old")
eventually(lambda: caching.get("cached") == b"old", "the old value")
assert caching.get_cache().size >= 1
for value in (b"new", b"newer"):
    builders[2].set("cached", value)
    eventually(lambda: caching.get("cached") == value, "the invalidation of a change through another node")
builders[0].delete("cached")
eventually(lambda: caching.get("cached") is None, "the invalidation of a deletion")
claim("redis-py's client-side cache hears of changes through other nodes")


def pushes(node, prefix):
    connection = socket.create_connection(("127.0.0.1", ports[node]), timeout=10)
    stream = connection.makefile("rwb")
    stream.write(b"HELLO 3 AUTH builder correct\r\nCLIENT TRACKING ON BCAST PREFIX " + prefix + b"\r\nPING\r\n")
    stream.flush()
    while stream.readline() != b"+PONG\r\n":
        pass
    return stream


listeners = [pushes(1, b"watched:"), pushes(2, b"watched:")]
builders[0].set("other", "1")
builders[0].set("watched:a", "1")
for stream in listeners:
    told = [stream.readline() for _ in range(6)]
    assert told == [b">2\r\n", b"$10\r\n", b"invalidate\r\n", b"*1\r\n", b"$9\r\n", b"watched:a\r\n"], told
claim("whoever broadcasts are for hears of all keys with the prefix, at every node")

keeper, other = client(0, user="keeper", password="kept"), client(1, user="keeper", password="kept")
assert keeper.hset("table", mapping={"a": "1", "b": "2"}) == 2
assert other.hgetall("table") == {b"a": b"1", b"b": b"2"} and other.hincrby("table", "a", 4) == 5
assert keeper.set("s", "kept", nx=True) and not other.set("s", "lost", nx=True) and other.get("s") == b"kept"
assert keeper.get("begin") is None and sorted(keeper.keys("*")) == [b"s", b"table"]
refused(lambda: builders[0].hset("h", "a", "1"), redis.ResponseError, "kind store")
claim("a store keeps hashes and conditions, in a tenant of its own")

proven = redis.Redis(
    port=ports[0], ssl=True, ssl_ca_certs=authority, ssl_certfile=f"{directory}/tester.pem",
    ssl_keyfile=f"{directory}/tester.key", protocol=3, retry=None)
assert proven.execute_command("ACL", "WHOAMI") == b"proven" and proven.set("mine", "1")
assert builders[0].get("mine") is None
without_trust = redis.Redis(port=ports[0], ssl=True, username="builder", password="correct", retry=None)
refused(without_trust.ping, redis.ConnectionError, "certificate verify failed")
context = ssl.create_default_context(cafile=authority)
with socket.create_connection(("127.0.0.1", ports[0]), timeout=10) as plain:
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
        assert wrapped.selected_alpn_protocol() is None and wrapped.version() == "TLSv1.3"
claim("a certificate is as good as a password")

cli = ["redis-cli", "-p", str(ports[1]), "--user", "builder", "--no-auth-warning", "--pass", "correct"]
assert run(*cli, "SET", "by-cli", "1").strip() == "OK" and run(*cli, "-3", "GET", "by-cli").strip() == "1"
assert "esper_node:n2" in run(*cli, "INFO")
tls = ["redis-cli", "-p", str(ports[0]), "--user", "builder", "--no-auth-warning", "--pass", "correct", "--tls",
       "--cacert", authority]
assert run(*tls, "GET", "by-cli").strip() == "1"
assert b"by-cli" in run(*cli, "--scan", "--pattern", "by-*").encode()
claim("redis-cli")

load = ["redis-benchmark", "-p", str(ports[2]), "--user", "builder", "-a", "correct", "-n", "300", "-c", "10", "-q"]
for more in (["-t", "set,get,incr,mset"], ["-t", "get", "-P", "16"], ["-t", "get", "-d", "65536", "-n", "100"]):
    said = run(*load, *more)
    assert "requests per second" in said and "ERR" not in said.upper().replace("ERROR: COULD NOT FETCH", ""), said
claim("redis-benchmark")

with tempfile.TemporaryDirectory() as place:
    source = f"{place}/one.c"
    with open(source, "w") as file:
        file.write("int answer(void) { return 42; }\n")
    said = []
    for number, node in enumerate((1, 2)):
        log = f"{place}/{number}.log"
        run("ccache", "gcc", "-c", source, "-o", f"{place}/{number}.o", CCACHE_DIR=f"{place}/{number}",
            CCACHE_REMOTE_STORAGE=f"redis://builder:correct@127.0.0.1:{ports[node]}|connect-timeout=2000|operation-timeout=5000",
            CCACHE_REMOTE_ONLY="true", CCACHE_STATSLOG=log, CCACHE_NODIRECT="")
        said.append([line.strip() for line in open(log) if not line.startswith("#")])
    assert "cache_miss" in said[0], said
    assert any(line.endswith("cache_hit") for line in said[1]) and "cache_miss" not in said[1], said
    assert open(f"{place}/0.o", "rb").read() == open(f"{place}/1.o", "rb").read()
claim("ccache finds through one node what it stored through another")
print("done")

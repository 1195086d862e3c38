"""Drives the Python client etcd3, whose generated code needs protobuf's implementation in Python."""
import io
import threading
import time

import etcd3
import grpc
import tenacity

from client_report import authority, certificate, host, key, note, ports, prefix

retry = tenacity.retry
# Its locks were written for a tenacity that called `wait` with two numbers.
tenacity.retry = lambda wait, **more: retry(
    wait=lambda state: wait(state.attempt_number, state.seconds_since_start or 0), **more)


def connect(at=0):
    return etcd3.client(host=host, port=ports[at], ca_cert=authority, cert_key=key, cert_cert=certificate, timeout=10)


def pair(found):
    value, meta = found
    if meta is None:
        return {"value": value}
    return {"key": meta.key, "value": value, "create_revision": meta.create_revision,
            "mod_revision": meta.mod_revision, "version": meta.version, "lease": meta.lease_id}


def attempt(step, function):
    try:
        note(step, function())
    except grpc.RpcError as error:
        note(step, f"{error.code().name}: {error.details()}")
    except Exception as error:
        note(step, f"{type(error).__name__}: {error}")


def keyspace(client):
    client.put(prefix + "a", "1")
    note("put", client.put(prefix + "a", "2", prev_kv=True).prev_kv.value)
    note("get", pair(client.get(prefix + "a")))
    note("get serializable", pair(client.get(prefix + "a", serializable=True)))
    note("nothing", pair(client.get(prefix + "none")))
    for name in "bcd":
        client.put(prefix + name, name)
    note("prefix", [pair(found) for found in client.get_prefix(prefix)])
    note("sorted", [meta.key for _, meta in client.get_prefix(prefix, sort_order="descend", sort_target="mod")])
    note("range", [meta.key for _, meta in client.get_range(prefix + "b", prefix + "d")])
    note("created once", [client.put_if_not_exists(prefix + "once", "1") for _ in range(2)])
    note("replaced", [client.replace(prefix + "once", "1", "2"), client.replace(prefix + "once", "1", "3")])
    note("deleted", [client.delete(prefix + "d"), client.delete(prefix + "d")])
    done, answers = client.transaction(
        compare=[client.transactions.value(prefix + "a") == "2", client.transactions.version(prefix + "b") > 0,
                 client.transactions.create(prefix + "none") == 0],
        success=[client.transactions.put(prefix + "t", "1"), client.transactions.get(prefix + "a"),
                 client.transactions.delete(prefix + "b")],
        failure=[client.transactions.get(prefix + "a")])
    note("transaction", {"succeeded": done, "read": [pair(found) for found in answers[1]]})
    note("prefix deleted", client.delete_prefix(prefix).deleted)
    attempt("no key", lambda: client.put("", "1"))


def watches(client):
    first = client.put(prefix + "w", "0").header.revision
    events, cancel = client.watch(prefix + "w", start_revision=first)
    client.put(prefix + "w", "1")
    client.delete(prefix + "w")
    seen = [next(events) for _ in range(3)]
    cancel()
    note("watched", [{"kind": type(event).__name__, "key": event.key, "value": event.value,
                      "mod_revision": event.mod_revision} for event in seen])
    got = threading.Semaphore(0)
    told = []

    def callback(response):
        told.extend(type(event).__name__ for event in response.events)
        got.release(len(response.events))

    watch = client.add_watch_prefix_callback(prefix, callback)
    for name in "xyz":
        client.put(prefix + name, "1")
    note("called back", [all(got.acquire(timeout=10) for _ in range(3)), told])
    client.cancel_watch(watch)
    attempt("nothing to wait for", lambda: client.watch_once(prefix + "quiet", timeout=0.3))
    last = client.put(prefix + "w", "9").header.revision
    client.compact(last)
    try:
        events, cancel = client.watch(prefix + "w", start_revision=first)
        next(events)
        note("compacted", "no error")
    except etcd3.exceptions.RevisionCompactedError as error:
        note("compacted", {"compact_revision": error.compacted_revision})


def leases(client):
    lease = client.lease(600, lease_id=7901)
    client.put(prefix + "leased", "1", lease=lease)
    note("lease", {"ttl": lease.ttl, "granted": lease.granted_ttl, "left": 0 < lease.remaining_ttl <= 600,
                   "keys": list(lease.keys)})
    note("refreshed", [answer.TTL for answer in lease.refresh()])
    lease.revoke()
    note("revoked", pair(client.get(prefix + "leased")))
    attempt("revoked twice", lease.revoke)


def locks(client, other):
    lock = client.lock(prefix + "lock", ttl=600)
    note("acquired", [lock.acquire(timeout=5), lock.is_acquired()])
    rival = other.lock(prefix + "lock", ttl=600)
    begun = time.monotonic()
    note("taken", rival.acquire(timeout=0.5))
    note("after its timeout", time.monotonic() - begun >= 0.4)
    waiting = threading.Thread(target=lambda: note("the rival's", rival.acquire(timeout=10)))
    watching = told_when_watching(other)
    waiting.start()
    note("the rival watches", watching.wait(timeout=10))
    released = lock.release()
    waiting.join()
    note("released", released)
    note("held by", [lock.is_acquired(), rival.is_acquired()])
    note("released by who lost it", lock.release())
    rival.release()


def told_when_watching(client):
    """An event of the client's next watch: it is there, so what happens to its key is not missed any more."""
    watching, watch = threading.Event(), client.add_watch_callback

    def watch_and_tell(*positional, **named):
        watch_id = watch(*positional, **named)
        watching.set()
        return watch_id

    client.add_watch_callback = watch_and_tell
    return watching


def cluster(client):
    note("members", sorted(member.name for member in client.members))
    status = client.status()
    note("status", {"leader": status.leader.name in [member.name for member in client.members],
                    "version": ".".join(status.version.split(".")[:2]), "size": status.db_size > 0})
    note("alarms", list(client.list_alarms()))
    client.defragment()
    note("hash", client.hash() > 0)
    file = io.BytesIO()
    client.snapshot(file)
    note("snapshot", len(file.getvalue()) > 0)


first, second = connect(0), connect(-1)
keyspace(first)
watches(first)
leases(second)
locks(first, second)
cluster(second)

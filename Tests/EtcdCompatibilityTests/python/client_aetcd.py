"""Drives the Python client aetcd, which has no TLS of its own: it is handed a channel that has."""
import asyncio
import pathlib

import aetcd
import aetcd.rpc
import grpc

from client_report import authority, certificate, host, key, note, ports, prefix

credentials = grpc.ssl_channel_credentials(*(pathlib.Path(file).read_bytes() for file in (authority, key, certificate)))
aetcd.rpc.insecure_channel = lambda target, options=(): grpc.aio.secure_channel(
    target, credentials, options=list(options))


def name(text):
    return (prefix + text).encode()


def pair(found):
    if found is None:
        return None
    return {"key": found.key, "value": found.value, "create_revision": found.create_revision,
            "mod_revision": found.mod_revision, "version": found.version, "lease": found.lease}


async def attempt(step, awaitable):
    try:
        note(step, await awaitable)
    except Exception as error:
        note(step, f"{type(error).__name__}: {error}")


async def keyspace(client):
    await client.put(name("a"), b"1")
    note("put", pair((await client.put(name("a"), b"2", prev_kv=True)).prev_kv))
    note("get", pair(await client.get(name("a"))))
    note("nothing", pair(await client.get(name("none"))))
    for letter in "bcd":
        await client.put(name(letter), letter.encode())
    found = await client.get_prefix(name(""), sort_order="descend", sort_target="key")
    note("prefix", {"keys": [item.key for item in found], "count": found.count, "more": found.more})
    note("range", [item.key for item in await client.get_range(name("b"), name("d"))])
    note("replaced", [await client.replace(name("a"), b"2", b"3"), await client.replace(name("a"), b"2", b"4")])
    deleted = await client.delete(name("d"), prev_kv=True)
    note("deleted", [pair(deleted.prev_kv), await client.delete(name("d"))])
    done, answers = await client.transaction(
        compare=[client.transactions.value(name("a")) == b"3", client.transactions.mod(name("none")) == 0],
        success=[client.transactions.get(name("a")), client.transactions.put(name("t"), b"1")], failure=[])
    note("transaction", {"succeeded": done, "read": [pair(item) for _, item in answers[0]]})
    note("range deleted", (await client.delete_prefix(name(""))).deleted)
    await attempt("no key", client.put(b"", b"1"))


async def watches(client):
    first = (await client.put(name("w"), b"0")).header.revision
    watch = await client.watch(name("w"), start_revision=first, prev_kv=True)
    await client.put(name("w"), b"1")
    await client.delete(name("w"))
    events = []
    async for event in watch:
        events.append({"kind": str(getattr(event.kind, "value", event.kind)), "value": event.kv.value,
                       "mod_revision": event.kv.mod_revision,
                       "before": event.prev_kv.value if event.prev_kv else None})
        if len(events) == 3:
            break
    await watch.cancel()
    note("watched", events)
    await attempt("nothing to wait for", client.watch_once(name("quiet"), timeout=1))
    last = (await client.put(name("w"), b"9")).header.revision
    await client.compact(last)
    await attempt("compacted", compacted(client, first))


async def compacted(client, revision):
    try:
        async for _ in await client.watch(name("w"), start_revision=revision):
            return "an event"
    except aetcd.exceptions.RevisionCompactedError as error:
        return {"compact_revision": error.compacted_revision}


async def leases(client):
    lease = await client.lease(600, lease_id=7911)
    await client.put(name("leased"), b"1", lease=lease)
    note("lease", {"granted": await lease.granted_ttl(), "left": 0 < await lease.remaining_ttl() <= 600,
                   "keys": list(await lease.keys())})
    note("refreshed", (await lease.refresh()).TTL)
    await lease.revoke()
    note("revoked", pair(await client.get(name("leased"))))
    await attempt("revoked twice", lease.revoke())


async def locks(client, other):
    lock, rival = client.lock(name("lock"), ttl=600), other.lock(name("lock"), ttl=600)
    note("acquired", [await lock.acquire(timeout=5), await lock.is_acquired()])
    note("taken", await rival.acquire(timeout=1))
    refused = told_when_refused(rival)
    waiting = asyncio.ensure_future(rival.acquire(timeout=10))
    await asyncio.wait_for(refused.wait(), timeout=10)
    note("released", await lock.release())
    note("the rival's", [await waiting, await rival.is_acquired(), await lock.is_acquired()])
    await rival.release()


def told_when_refused(lock):
    """An event of the first attempt that finds the lock taken; what waits then begins at that attempt's revision."""
    refused, attempt_once = asyncio.Event(), lock._try_acquire

    async def attempt_and_tell():
        has_it = await attempt_once()
        if not has_it:
            refused.set()
        return has_it

    lock._try_acquire = attempt_and_tell
    return refused


async def cluster(client):
    members = [member async for member in client.members()] if hasattr(client.members(), "__aiter__") else []
    note("members", sorted(member.name for member in members))
    note("hash", await client.hash() > 0)


async def main():
    async with aetcd.Client(host=host, port=ports[0], timeout=10) as first:
        async with aetcd.Client(host=host, port=ports[-1], timeout=10) as second:
            await keyspace(first)
            await watches(first)
            await leases(second)
            await locks(first, second)
            await cluster(second)


asyncio.run(main())

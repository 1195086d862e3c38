"""Locks and elections: the servers' own services."""
import grpc

from harness import scenario
from wire import Stream


@scenario("lock.service")
def lock(c):
    for lease in (7201, 7202, 7203):
        c.ask("Lease/LeaseGrant", ID=lease, TTL=600)
    name = c.key("one")
    first = c.call("taken", "Lock/Lock", name=name, lease=7201)
    c.call("again with the same lease", "Lock/Lock", name=name, lease=7201)
    c.call("its key", "KV/Range", key=first.key if first else b"none")
    c.call("found under the name", "KV/Range", key=name + b"/", range_end=name + b"0")
    second = c.future("Lock/Lock", name=name, lease=7202)
    c.until(lambda: queued(c, name) == 2)
    third = c.future("Lock/Lock", at=-1, name=name, lease=7203)
    c.until(lambda: queued(c, name) == 3)
    c.note("the others wait", [second.done(), third.done()])
    c.call("let go", "Lock/Unlock", key=first.key if first else b"none")
    held = c.settle("the second has it", second)
    c.note("the third waits on", third.done())
    c.call("the second's lease is revoked", "Lease/LeaseRevoke", ID=7202)
    c.settle("the third has it", third)
    c.call("let go by one who lost it", "Lock/Unlock", key=held.key if held else b"none")
    c.call("the holder's lease is revoked", "Lease/LeaseRevoke", ID=7203)
    c.call("nobody is left", "KV/Range", key=name + b"/", range_end=name + b"0")
    c.call("a lease that is not there", "Lock/Lock", name=name, lease=4242424242)
    c.call("a key that is not there", "Lock/Unlock", key=c.key("nothing"))
    c.ask("Lease/LeaseRevoke", ID=7201)


@scenario("lock.service.sixteen")
def sixteen(c):
    """Sixteen contenders, at every member, have the lock in the order in which they asked for it."""
    leases = range(7230, 7246)
    for lease in leases:
        c.ask("Lease/LeaseGrant", ID=lease, TTL=600)
    name = c.key("one")
    waiting = []
    for number, lease in enumerate(leases):
        waiting.append(c.future("Lock/Lock", at=number % len(c.cluster.ports), name=name, lease=lease))
        c.until(lambda: queued(c, name) == number + 1)
    c.note("the queue", holders(c, name) == list(leases))
    order, overtaken = [], []
    for number, (lease, held) in enumerate(zip(leases, waiting)):
        try:
            key = held.result(timeout=15).key
        except (grpc.FutureTimeoutError, grpc.RpcError) as error:
            return c.note(f"number {number} has it", type(error).__name__)
        order.append(lease)
        overtaken += [later for later in waiting[number + 1:] if later.done()]
        c.ask("Lock/Unlock", key=key)
    c.note("granted in order", order == list(leases))
    c.note("to one at a time", len(overtaken) == 0)
    for lease in leases:
        c.ask("Lease/LeaseRevoke", ID=lease)


@scenario("lock.service.own-lease")
def own_lease(c):
    taken = c.call("without a lease", "Lock/Lock", name=c.key("own"))
    pair = c.call("its key has one", "KV/Range", key=taken.key if taken else b"none")
    if pair and pair.kvs:
        reply = c.ask("Lease/LeaseTimeToLive", ID=pair.kvs[0].lease)
        c.note("of a minute", reply.grantedTTL if reply else reply.message)
    c.call("let go", "Lock/Unlock", key=taken.key if taken else b"none")
    if pair and pair.kvs:
        c.ask("Lease/LeaseRevoke", ID=pair.kvs[0].lease)


@scenario("lock.service.gives-up")
def gives_up(c):
    """Who stops waiting leaves the queue."""
    for lease in (7211, 7212, 7213):
        c.ask("Lease/LeaseGrant", ID=lease, TTL=600)
    name = c.key("one")
    first = c.call("taken", "Lock/Lock", name=name, lease=7211)
    # Whether the client or the server notices first is open.
    c.note("no longer than a moment", bool(c.ask("Lock/Lock", name=name, lease=7212, timeout=0.7)))
    third = c.future("Lock/Lock", name=name, lease=7213)
    c.until(lambda: holders(c, name) == [7211, 7213], within=5)
    c.call("the queue", "KV/Range", key=name + b"/", range_end=name + b"0", keys_only=True)
    c.call("let go", "Lock/Unlock", key=first.key if first else b"none")
    c.settle("goes to the one who waits", third)
    for lease in (7211, 7212, 7213):
        c.ask("Lease/LeaseRevoke", ID=lease)


def holders(c, name):
    reply = c.ask("KV/Range", key=name + b"/", range_end=name + b"0", keys_only=True)
    return [pair.lease for pair in reply.kvs] if reply else []


def queued(c, name):
    reply = c.ask("KV/Range", key=name + b"/", range_end=name + b"0", count_only=True)
    return reply.count if reply else 0


@scenario("election.service")
def election(c):
    for lease in (7301, 7302):
        c.ask("Lease/LeaseGrant", ID=lease, TTL=600)
    name = c.key("one")
    c.call("nobody leads", "Election/Leader", name=name)
    observer = c.cluster.connections[-1].call("Election/Observe", {"name": name}, timeout=60)
    c.opened.append(observer.cancel)
    first = c.call("won", "Election/Campaign", name=name, lease=7301, value=b"first")
    observed(c, "seen", observer)
    c.call("led by the first", "Election/Leader", name=name)
    second = c.future("Election/Campaign", name=name, lease=7302, value=b"second")
    c.until(lambda: queued(c, name) == 2)
    c.note("the second waits", second.done())
    leader = first.leader if first else c.cluster.protocol.message("v3electionpb.LeaderKey")()
    c.call("proclaimed", "Election/Proclaim", leader=leader, value=b"still the first")
    observed(c, "seen", observer)
    c.call("led by", "Election/Leader", name=name)
    c.call("resigned", "Election/Resign", leader=leader)
    c.settle("the second has won", second)
    observed(c, "seen", observer)
    c.call("led by the second", "Election/Leader", name=name)
    c.call("proclaimed by one who resigned", "Election/Proclaim", leader=leader, value=b"too late")
    c.call("resigned twice", "Election/Resign", leader=leader)
    c.call("the second's lease is revoked", "Lease/LeaseRevoke", ID=7302)
    c.call("nobody leads any more", "Election/Leader", name=name)
    c.call("proclaimed without a leader", "Election/Proclaim", value=b"x")
    c.call("resigned without a leader", "Election/Resign")
    c.call("a lease that is not there", "Election/Campaign", name=name, lease=4242424242, value=b"x")
    c.call("the queue is empty", "KV/Range", key=name + b"/", range_end=name + b"0")
    c.ask("Lease/LeaseRevoke", ID=7301)


def observed(c, step, observer):
    """Records what an observer is told next."""
    import queue
    import threading

    box = queue.Queue()
    threading.Thread(target=lambda: box.put(next(observer, Stream.END)), daemon=True).start()
    try:
        message = box.get(timeout=10)
    except queue.Empty:
        return c.note(step, "nothing in time")
    if message is Stream.END:
        return c.note(step, "the stream ended")
    c.record(step, message)


@scenario("recipe.mutex")
def mutex(c):
    """The lock that clients build from leases and transactions."""
    for lease in (7401, 7402):
        c.ask("Lease/LeaseGrant", ID=lease, TTL=600)
    name = c.key("m/")
    for lease in (7401, 7402):
        mine = name + f"{lease:x}".encode()
        c.call(f"{lease} enters the queue", "KV/Txn",
               compare=[{"key": mine, "target": "CREATE", "result": "EQUAL", "create_revision": 0}],
               success=[{"request_put": {"key": mine, "lease": lease}},
                        {"request_range": {"key": name, "range_end": name[:-1] + b"0", "sort_order": "ASCEND",
                                           "sort_target": "CREATE", "limit": 1}}],
               failure=[{"request_range": {"key": mine}}])
    c.call("who is before the second", "KV/Range", key=name, range_end=name[:-1] + b"0", sort_order="DESCEND",
           sort_target="CREATE", limit=1, max_create_revision=c.base + 1)
    c.call("the first's lease is revoked", "Lease/LeaseRevoke", ID=7401)
    c.call("who owns it now", "KV/Range", key=name, range_end=name[:-1] + b"0", sort_order="ASCEND",
           sort_target="CREATE", limit=1)
    c.ask("Lease/LeaseRevoke", ID=7402)

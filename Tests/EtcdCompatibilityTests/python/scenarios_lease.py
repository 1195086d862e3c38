"""Leases: chosen and given identifiers, keep-alive, what becomes of keys."""
import time

from harness import Watching, scenario

UNKNOWN = 4242424242


def left(c, step, reply, granted):
    """Records a time to live without the clock: what is left is at most what was granted."""
    if not reply:
        return c.record(step, reply)
    ttl = reply.TTL
    c.note(step, {"ID": reply.ID, "TTL": "some" if 0 < ttl <= granted else ttl, "granted": reply.grantedTTL,
                  "keys": list(reply.keys)})


@scenario("lease.grant")
def grant(c):
    c.call("a chosen id", "Lease/LeaseGrant", ID=7001, TTL=600)
    c.call("a taken id", "Lease/LeaseGrant", ID=7001, TTL=60)
    anonymous = c.call("a given id", "Lease/LeaseGrant", TTL=600)
    c.call("the longest", "Lease/LeaseGrant", ID=7002, TTL=9_000_000_000)
    c.call("too long", "Lease/LeaseGrant", ID=7003, TTL=9_000_000_001)
    reply = c.ask("Lease/LeaseGrant", ID=7004, TTL=0)
    c.note("no time at all is lengthened", {"longer": reply.TTL > 0} if reply else reply.message)
    reply = c.ask("Lease/LeaseGrant", ID=7005, TTL=-5)
    c.note("so is less than none", {"longer": reply.TTL > 0} if reply else reply.message)
    given = c.ask("Lease/LeaseGrant", TTL=600)
    c.note("given ids are positive", given.ID > 0)
    for lease in (7001, 7002, given.ID):
        c.call("revoked", "Lease/LeaseRevoke", ID=lease)
    c.call("revoked twice", "Lease/LeaseRevoke", ID=7001)
    c.call("revoked without having been", "Lease/LeaseRevoke", ID=UNKNOWN)
    c.call("the id can be taken again", "Lease/LeaseGrant", ID=7001, TTL=600)
    for lease in (7001, 7004, 7005, anonymous.ID if anonymous else 0):
        c.ask("Lease/LeaseRevoke", ID=lease)


@scenario("lease.keys")
def keys(c):
    c.call("granted", "Lease/LeaseGrant", ID=7010, TTL=600)
    c.call("another", "Lease/LeaseGrant", ID=7011, TTL=600)
    c.put("b", b"1", lease=7010)
    c.put("a", b"1", lease=7010)
    c.put("c", b"1", lease=7011)
    left(c, "time to live", c.ask("Lease/LeaseTimeToLive", ID=7010), 600)
    reply = c.ask("Lease/LeaseTimeToLive", ID=7010, keys=True)
    c.note("its keys", sorted(reply.keys) if reply else reply.message)
    c.put("b", b"2", lease=7011)
    c.put("a", b"2")
    left(c, "keys move and leave", c.ask("Lease/LeaseTimeToLive", ID=7010, keys=True), 600)
    reply = c.ask("Lease/LeaseTimeToLive", ID=7011, keys=True)
    c.note("the other's keys", sorted(reply.keys) if reply else reply.message)
    left(c, "of a lease that is not there", c.ask("Lease/LeaseTimeToLive", ID=UNKNOWN, keys=True), 600)
    left(c, "asked of another member", c.ask("Lease/LeaseTimeToLive", at=-1, ID=7010), 600)
    c.ask("KV/DeleteRange", key=c.key("c"))
    left(c, "deleted keys leave", c.ask("Lease/LeaseTimeToLive", ID=7011, keys=True), 600)
    watch = Watching(c)
    watch.create("watched", **c.everything)
    c.call("revoked with its keys", "Lease/LeaseRevoke", ID=7011)
    watch.take("its key goes", 1)
    c.call("what is left", "KV/Range", **c.everything)
    c.call("the other one revoked", "Lease/LeaseRevoke", ID=7010)
    c.call("has no keys", "KV/Range", **c.everything)
    c.call("one with two keys", "Lease/LeaseGrant", ID=7012, TTL=600)
    c.put("y", b"1", lease=7012)
    c.put("x", b"1", lease=7012)
    c.call("revoked", "Lease/LeaseRevoke", ID=7012)
    watch.take("goes at once, in the keys' order", 2 + 2)
    c.call("the revision after that", "KV/Range", **c.everything)


@scenario("lease.list")
def listed(c):
    before = c.ask("Lease/LeaseLeases")
    others = {lease.ID for lease in before.leases} if before else set()

    def listed(step, at):
        # A member lists what it has; this makes it have everything.
        c.ask("KV/Range", at=at, key=b"x")
        reply = c.ask("Lease/LeaseLeases", at=at)
        c.note(step, sorted(lease.ID for lease in reply.leases if lease.ID not in others) if reply else reply.message)

    for lease in (7023, 7021, 7022):
        c.ask("Lease/LeaseGrant", ID=lease, TTL=600 + lease)
    listed("those granted", 0)
    listed("at another member", -1)
    for lease in (7023, 7021, 7022):
        c.ask("Lease/LeaseRevoke", ID=lease)
    listed("none after", 0)


@scenario("lease.keepalive")
def keepalive(c):
    c.call("granted", "Lease/LeaseGrant", ID=7030, TTL=100)
    c.call("another", "Lease/LeaseGrant", ID=7031, TTL=200)
    stream = c.stream("Lease/LeaseKeepAlive")
    for lease in (7030, 7031, 7030):
        stream.send(ID=lease)
        c.received(f"kept {lease}", stream)
    stream.send(ID=UNKNOWN)
    c.received("one that is not there has no time", stream)
    c.ask("Lease/LeaseRevoke", ID=7030)
    stream.send(ID=7030)
    c.received("nor has a revoked one", stream)
    stream.send(ID=7031)
    c.received("the stream goes on", stream)
    stream.finish()
    c.received("and ends when the client does", stream)
    other = c.stream("Lease/LeaseKeepAlive", at=-1)
    other.send(ID=7031)
    c.received("at another member", other)
    for _ in range(20):
        other.send(ID=7031)
    c.note("twenty at once", [getattr(other.next(), "TTL", None) for _ in range(20)])
    c.ask("Lease/LeaseRevoke", ID=7031)


@scenario("lease.many")
def many(c):
    """More than a page of the list."""
    leases = set(range(600_000, 601_201))
    for future in [c.future("Lease/LeaseGrant", ID=lease, TTL=600) for lease in leases]:
        future.result(timeout=30)
    reply = c.ask("Lease/LeaseLeases")
    c.note("all are listed", leases <= {lease.ID for lease in reply.leases} if reply else reply.message)
    for future in [c.future("Lease/LeaseRevoke", ID=lease) for lease in leases]:
        future.result(timeout=30)
    reply = c.ask("Lease/LeaseLeases")
    c.note("and none any more", not leases & {lease.ID for lease in reply.leases} if reply else reply.message)


@scenario("lease.expiry")
def expiry(c):
    """A lease that nobody keeps ends with its keys; one that is kept stays."""
    # Both clusters lengthen what is shorter than their elections; four seconds are granted as they are.
    c.call("kept", "Lease/LeaseGrant", ID=7040, TTL=4)
    c.call("left alone", "Lease/LeaseGrant", ID=7041, TTL=4)
    c.put("kept", b"1", lease=7040)
    c.put("left", b"1", lease=7041)
    watch = Watching(c)
    watch.create("watched", prev_kv=True, **c.everything)
    stream = c.stream("Lease/LeaseKeepAlive")
    started = time.monotonic()
    while not watch.events and time.monotonic() - started < 20:
        stream.send(ID=7040)
        stream.next()
        watch.pump(0.5)
    took = time.monotonic() - started
    watch.take("its key is deleted", 1)
    c.note("not before its time, and soon after", {"early": took < 3.5, "late": took > 12})
    left(c, "the lease is gone", c.ask("Lease/LeaseTimeToLive", ID=7041, keys=True), 4)
    stream.send(ID=7041)
    c.received("and cannot be kept", stream)
    c.call("a put with it", "KV/Put", key=c.key("late"), value=b"1", lease=7041)
    c.call("the kept one's key is there", "KV/Range", **c.everything)
    c.ask("Lease/LeaseRevoke", ID=7040)

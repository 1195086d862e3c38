"""Every service of real nodes, asked by grpcio; prints one line for each claim. Called as esper_stubs.py says."""
import threading
import time

import grpc

from esper_stubs import *

COMMITTED = common.OUTCOME_COMMITTED
channels = [channel(port) for port in ports]
for connection in channels:
    grpc.channel_ready_future(connection).result(timeout=20)
one, two, three = channels
store, follower_store = kv_grpc.KVStub(one), kv_grpc.KVStub(two)
sessions, locks, elections = session_grpc.SessionStub(one), lock_grpc.LockStub(one), election_grpc.ElectionStub(two)
status = cluster_grpc.ClusterStub(three)


def key(name):
    return common.KeyRange(key=name)


def prefix(name):
    return common.KeyRange(prefix=name)


# The keyspace, written through one node and read through another.
first = store.Put(kv.PutRequest(key=b"py/a", value=b"1"), timeout=20).commit
assert first.outcome == COMMITTED and first.revision > 1
again = store.Put(kv.PutRequest(key=b"py/a", value=b"2", want_previous=True), timeout=20)
assert again.previous.value == b"1" and again.previous.version == 1
got = follower_store.Get(kv.GetRequest(key=b"py/a"), timeout=20)
assert got.kv.value == b"2" and got.kv.create_revision == first.revision and got.kv.version == 2
old = follower_store.Get(kv.GetRequest(key=b"py/a", revision=first.revision), timeout=20)
assert old.kv.value == b"1"
for name in (b"py/b", b"py/c", b"py/d"):
    store.Put(kv.PutRequest(key=name, value=name), timeout=20)
page = follower_store.Range(kv.RangeRequest(range=prefix(b"py/"), limit=2), timeout=20)
assert [pair.key for pair in page.kvs] == [b"py/a", b"py/b"] and page.count == 4 and page.more
down = store.Range(kv.RangeRequest(range=prefix(b"py/"), descending=True, keys_only=True), timeout=20)
assert [pair.key for pair in down.kvs] == [b"py/d", b"py/c", b"py/b", b"py/a"] and not down.kvs[0].value
assert store.Range(kv.RangeRequest(range=prefix(b"py/"), count_only=True), timeout=20).count == 4
removed = store.Delete(kv.DeleteRequest(range=key(b"py/d"), want_previous=True), timeout=20)
assert removed.deleted == 1 and removed.previous[0].value == b"py/d"
claim("keyspace")

swap = kv.TxnRequest(
    compares=[kv.Compare(key=b"py/a", target=kv.Compare.TARGET_VALUE, relation=kv.Compare.RELATION_EQUAL, value=b"2")],
    success=[kv.Operation(put=kv.PutOperation(key=b"py/a", value=b"3")),
             kv.Operation(range=kv.RangeOperation(range=prefix(b"py/"), count_only=True))],
    failure=[kv.Operation(delete=kv.DeleteOperation(range=key(b"py/b")))])
won = follower_store.Txn(swap, timeout=20)
assert won.succeeded and len(won.results) == 2 and won.results[1].range.count == 3
lost = store.Txn(swap, timeout=20)
assert not lost.succeeded and lost.results[0].delete.deleted == 1
claim("transactions")

client = status.RegisterClient(cluster.RegisterClientRequest(), timeout=20).client_id
number = common.RequestID(client_id=client, sequence=1)
write = kv.PutRequest(key=b"py/once", value=b"1", request_id=number)
assert store.Put(write, timeout=20).commit == follower_store.Put(write, timeout=20).commit
assert store.Get(kv.GetRequest(key=b"py/once"), timeout=20).kv.version == 1
claim("exactly once")

# Watches: from the past on, and as it happens.
stream = watch_grpc.WatchStub(two).Watch(
    watch.WatchRequest(range=prefix(b"py/"), from_revision=first.revision), timeout=60)
seen = []
store.Put(kv.PutRequest(key=b"py/last", value=b"x"), timeout=20)
for message in stream:
    seen += [(event.kind, event.kv.key, event.kv.mod_revision) for event in message.events]
    if seen and seen[-1][1] == b"py/last":
        break
stream.cancel()
assert seen[0] == (watch.Event.KIND_PUT, b"py/a", first.revision)
assert [entry[2] for entry in seen] == sorted(entry[2] for entry in seen)
assert (watch.Event.KIND_DELETE, b"py/d") in [entry[:2] for entry in seen]
claim("watch")

# Sessions, and a lock that passes from one to the other.
def grant():
    made = sessions.Grant(session.GrantRequest(ttl_ms=30_000), timeout=20)
    assert made.commit.outcome == COMMITTED and made.ttl_ms == 30_000
    return made.session_id


ada, bob = grant(), grant()
alive = sessions.KeepAlive(session.KeepAliveRequest(session_ids=[ada, 12345]), timeout=20).sessions
assert [(state.session_id, state.alive) for state in alive] == [(ada, True), (12345, False)]
held = locks.Acquire(lock.AcquireRequest(name="py/lock", session_id=ada), timeout=20)
assert held.granted and held.fencing_token > 0
tried = locks.Acquire(lock.AcquireRequest(name="py/lock", session_id=bob), timeout=20)
assert not tried.granted and tried.holder_session_id == ada
waiting = locks.Acquire.future(lock.AcquireRequest(name="py/lock", session_id=bob, wait_ms=30_000), timeout=60)
deadline = time.monotonic() + 20
while True:
    listed = lock_grpc.LockStub(three).List(lock.ListLocksRequest(prefix="py/"), timeout=20).locks
    if list(listed[0].waiting_session_ids) == [bob]:
        break
    assert time.monotonic() < deadline, listed
assert listed[0].holder_session_id == ada and listed[0].fencing_token == held.fencing_token
assert locks.Release(lock.ReleaseRequest(name="py/lock", session_id=ada), timeout=20).released
passed = waiting.result()
assert passed.granted and passed.fencing_token > held.fencing_token
store.Put(kv.PutRequest(key=b"py/mine", value=b"1", session_id=bob), timeout=20)
listed = {entry.session_id: entry for entry in sessions.List(session.ListSessionsRequest(), timeout=20).sessions}
assert listed[bob].principal.startswith("client/") and listed[bob].keys == 2, listed[bob]
assert sessions.Revoke(session.RevokeRequest(session_id=bob), timeout=20).deleted >= 1
assert not follower_store.Get(kv.GetRequest(key=b"py/mine"), timeout=20).HasField("kv")
claim("sessions and locks")

# Elections.
told, hears = [], threading.Event()


def observe():
    for message in observation:
        told.append((message.leadership.session_id, message.leadership.value))
        hears.set()


observation = election_grpc.ElectionStub(three).Observe(election.ObserveRequest(name="py/head %"), timeout=120)
listener = threading.Thread(target=lambda: refused(observe, grpc.StatusCode.CANCELLED))
listener.start()
carl = grant()
chosen = elections.Campaign(
    election.CampaignRequest(name="py/head %", session_id=ada, value=b"host-a", wait_ms=20_000), timeout=30)
assert chosen.elected and chosen.leadership.value == b"host-a"
second = elections.Campaign(election.CampaignRequest(name="py/head %", session_id=carl, value=b"host-c"), timeout=30)
assert not second.elected
waiting = elections.Campaign.future(
    election.CampaignRequest(name="py/head %", session_id=carl, value=b"host-c", wait_ms=30_000), timeout=60)
elections.Proclaim(election.ProclaimRequest(name="py/head %", session_id=ada, value=b"host-a2"), timeout=20)
leader = elections.Leader(election.LeaderRequest(name="py/head %"), timeout=20).leadership
assert leader.session_id == ada and leader.value == b"host-a2"
assert elections.Resign(election.ResignRequest(name="py/head %", session_id=ada), timeout=20).resigned
assert waiting.result().elected
assert elections.Leader(election.LeaderRequest(name="py/head %"), timeout=20).leadership.session_id == carl
while (carl, b"host-c") not in told:
    hears.clear()
    assert hears.wait(20), told
observation.cancel()
listener.join()
assert (ada, b"host-a2") in told
claim("elections")

# The cluster, and what is refused.
seen = status.Status(cluster.StatusRequest(), timeout=20)
assert [member.name for member in seen.members] == ["n1", "n2", "n3"] and seen.leader
others = [member.name for member in seen.members if member.name != seen.leader]
moved = status.TransferLeadership(cluster.TransferLeadershipRequest(target=others[0]), timeout=20)
assert moved.leader == others[0] and moved.term > seen.term
error = refused(lambda: status.TransferLeadership(cluster.TransferLeadershipRequest(target="n9"), timeout=20),
                grpc.StatusCode.FAILED_PRECONDITION)
assert "n1, n2, n3" in error.details()
floor = store.Put(kv.PutRequest(key=b"py/z", value=b"1"), timeout=20).commit.revision
assert store.Compact(kv.CompactRequest(revision=floor), timeout=20).commit.outcome == COMMITTED
refused(lambda: store.Get(kv.GetRequest(key=b"py/a", revision=first.revision), timeout=20), grpc.StatusCode.OUT_OF_RANGE)
refused(lambda: store.Put(kv.PutRequest(key=b"_lock/x", value=b"1"), timeout=20), grpc.StatusCode.PERMISSION_DENIED)
refused(lambda: store.Put(kv.PutRequest(key=b"k", value=b"x" * (80 << 10)), timeout=20),
        grpc.StatusCode.INVALID_ARGUMENT)
refused(lambda: locks.Release(lock.ReleaseRequest(name="nobody's", session_id=carl), timeout=20),
        grpc.StatusCode.NOT_FOUND)
claim("cluster and refusals")
print("done", flush=True)

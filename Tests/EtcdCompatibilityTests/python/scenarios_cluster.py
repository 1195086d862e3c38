"""Members, maintenance, snapshots."""
import hashlib

import grpc

from harness import Fault, scenario


@scenario("cluster.members")
def members(c):
    reply = c.ask("Cluster/MemberList")
    if not reply:
        return c.record("listed", reply)
    c.note("listed", [{
        "name": member.name, "ID": member.ID, "learner": member.isLearner,
        "peer URLs": [url.split("://")[0] for url in member.peerURLs],
        "clients are told this port": [url for url in member.clientURLs] == [f"https://{endpoint}"],
    } for member, endpoint in zip(sorted(reply.members, key=lambda member: member.name), c.cluster.endpoints)],
        ids="member")
    c.note("each id once", len({member.ID for member in reply.members}) == len(c.cluster.ports))
    for index in range(len(c.cluster.ports)):
        other = c.ask("Cluster/MemberList", at=index, linearizable=True)
        c.note(f"listed the same at {index + 1}", sorted(member.ID for member in other.members)
               == sorted(member.ID for member in reply.members) if other else other.message)
        header = c.ask("KV/Range", at=index, key=b"x").header
        c.note(f"answers name their member {index + 1}", {
            "is the endpoint's": f"https://{c.cluster.endpoints[index]}" in
            [url for member in reply.members if member.ID == header.member_id for url in member.clientURLs],
            "of the same cluster": header.cluster_id == reply.header.cluster_id})

    def change(method, **fields):
        # etcd drops a change of members, and lets who asked wait, while its leader's consensus has not passed the one before, which others
        # may have answered by then; it has when a write that was begun afterwards is answered.
        c.put("between")
        return c.ask(method, **fields)

    c.record("removal of nobody", change("Cluster/MemberRemove", ID=4242))
    c.record("update of nobody", change("Cluster/MemberUpdate", ID=4242, peerURLs=["https://127.0.0.1:9"]))
    first, second = reply.members[:2]
    updated = change("Cluster/MemberUpdate", ID=first.ID, peerURLs=list(first.peerURLs))
    c.note("update to what it is", sorted(member.ID for member in updated.members)
           == sorted(member.ID for member in reply.members) if updated else updated.message)
    c.record("update to the address of another", change("Cluster/MemberUpdate", ID=first.ID, peerURLs=list(second.peerURLs)))
    c.record("promotion of nobody", change("Cluster/MemberPromote", ID=4242))
    c.record("promotion of a voter", change("Cluster/MemberPromote", ID=reply.members[0].ID))
    c.record("the address of another", change("Cluster/MemberAdd", peerURLs=list(reply.members[0].peerURLs)))
    c.record("no address that could be one", change("Cluster/MemberAdd", peerURLs=["nonsense"]))


@scenario("cluster.status")
def status(c):
    leaders = set()
    for index in range(len(c.cluster.ports)):
        reply = c.call(f"of member {index + 1}", "Maintenance/Status", at=index)
        if reply:
            leaders.add(reply.leader)
            c.note(f"its numbers {index + 1}", {"applied": reply.raftAppliedIndex <= reply.raftIndex})
    c.note("they agree on the leader", len(leaders) == 1 and 0 not in leaders)
    c.call("alarms", "Maintenance/Alarm")
    c.call("alarms of nobody disarmed", "Maintenance/Alarm", action="DEACTIVATE", alarm="NOSPACE")
    c.call("defragmented", "Maintenance/Defragment")
    c.call("serves on", "KV/Put", key=c.key("after"), value=b"1")


@scenario("cluster.hash")
def hashes(c):
    for number in range(5):
        c.put("a", str(number).encode())
    revision = c.ask("KV/Range", key=c.key("a")).header.revision
    for index in range(len(c.cluster.ports)):
        c.ask("KV/Range", at=index, key=c.key("a"))
    compacted = c.ask("KV/Compact", revision=revision - 2, physical=True)
    c.note("compacted", bool(compacted))

    def alike():
        replies = [c.ask("Maintenance/HashKV", at=index, revision=revision) for index in range(len(c.cluster.ports))]
        if not all(replies):
            return next(reply for reply in replies if not reply).message
        return len({(reply.hash, reply.compact_revision) for reply in replies}) == 1

    c.note("the same at every member", c.until(lambda: alike() is True) or alike())
    c.call("now", "Maintenance/HashKV")
    c.call("below the compaction", "Maintenance/HashKV", revision=revision - 4)
    c.call("in the future", "Maintenance/HashKV", revision=revision + 1000)
    c.call("of everything", "Maintenance/Hash")


@scenario("cluster.snapshot")
def snapshot(c):
    c.put("a", b"1")
    try:
        pieces = list(c.cluster.connections[0].call("Maintenance/Snapshot", {}, timeout=30))
    except grpc.RpcError as error:
        return c.record("streamed", Fault(error))
    blob = b"".join(piece.blob for piece in pieces)
    left = [piece.remaining_bytes for piece in pieces]
    c.note("streamed", {
        "bytes": bool(blob), "what is left shrinks": left == sorted(left, reverse=True), "to nothing": left[-1] == 0,
        "ends in its checksum": hashlib.sha256(blob[:-32]).digest() == blob[-32:]})


@scenario("cluster.leader")
def leader(c):
    """Leadership moves where it is told to. The last of all: leases start anew with a leader."""

    def who():
        replies = [c.ask("Maintenance/Status", at=index) for index in range(len(c.cluster.ports))]
        leaders = {reply.leader for reply in replies if reply}
        return leaders.pop() if all(replies) and len(leaders) == 1 and 0 not in leaders else None

    old = c.until(who)
    by_url = {url: member.ID for member in c.ask("Cluster/MemberList").members for url in member.clientURLs}
    ids = [by_url.get(f"https://{endpoint}") for endpoint in c.cluster.endpoints]
    if old not in ids or len(ids) < 2:
        return c.note("no leader to move", [])
    at = ids.index(old)
    follower = (at + 1) % len(ids)
    c.call("asked of a follower", "Maintenance/MoveLeader", at=follower, targetID=ids[follower])
    c.call("to nobody", "Maintenance/MoveLeader", at=at, targetID=4242)
    c.call("to itself", "Maintenance/MoveLeader", at=at, targetID=old)
    c.call("to another", "Maintenance/MoveLeader", at=at, targetID=ids[follower])
    c.note("which leads now", c.until(lambda: who() == ids[follower]))
    c.note("and serves", bool(c.until(lambda: c.ask("KV/Put", key=c.key("after"), value=b"1"))))

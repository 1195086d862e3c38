"""What a member says that has lost the others: to clients that require a leader, and to those that do not.

Kills the processes that it is given, which are those of every other member, and prints a line for each answer.
"""
import argparse
import os
import signal

import harness
from scenarios_gateway import Gateway, b64

REQUIRED = (("hasleader", "true"),)
METHODS = (("KV/Range", dict(key=b"k", serializable=True)), ("KV/Put", dict(key=b"k", value=b"1")),
           ("Cluster/MemberList", {}), ("Lock/Lock", dict(name=b"l", lease=1)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("protos", "ports", "ca", "certificate", "key", "kill"):
        parser.add_argument(f"--{option}", required=True)
    options = parser.parse_args()
    cluster = harness.Cluster("127.0.0.1", [int(options.ports.split(",")[0])], options.ca, options.certificate,
                              options.key, options.protos)
    cluster.wait_until_ready()
    c = harness.Context(cluster, "leaderless")
    c.ask("Lease/LeaseGrant", ID=8001, TTL=600)
    required, patient = opened(c, REQUIRED), opened(c, ())
    for pid in options.kill.split(","):
        os.kill(int(pid), signal.SIGKILL)
    for name, stream in required:
        while stream.next(timeout=30) not in (stream.END, None):
            pass
        print(f"{name}: {c.fault(stream) if stream.fault else 'goes on'}")
    for method, fields in METHODS:
        # Told at once: nobody is waited for.
        reply = c.ask(method, metadata=REQUIRED, timeout=5, **fields)
        print(f"{method}: {'an answer' if reply else f'{reply.code}: {reply.message}'}")
    for method in ("Watch/Watch", "Lease/LeaseKeepAlive"):
        stream = c.stream(method, metadata=REQUIRED)
        stream.next(timeout=10)
        print(f"a new {method}: {c.fault(stream) if stream.fault else 'is served'}")
    answer = Gateway(c).send("POST", "/v3/kv/range", {"key": b64("k"), "serializable": True},
                             {"Grpc-Metadata-hasleader": "true"})
    print(f"by JSON: {answer.status} {'no leader' if b'etcdserver: no leader' in answer.read() else 'something else'}")
    print(f"who does not require one reads: {bool(c.ask('KV/Range', key=b'k', serializable=True))}")
    watch = patient[0][1]
    watch.send(create_request=dict(key=b"k"))
    created = watch.next()
    print(f"and watches on: {bool(created and created is not watch.END and created.created)}")
    c.close()


def opened(c, metadata):
    """A watch and a stream of keep-alives that have had an answer."""
    watch = c.stream("Watch/Watch", metadata=metadata)
    watch.send(create_request=dict(key=b"k"))
    kept = c.stream("Lease/LeaseKeepAlive", metadata=metadata)
    kept.send(ID=8001)
    for stream in (watch, kept):
        assert stream.next() is not None
    return [("a watch", watch), ("keep-alives", kept)]


if __name__ == "__main__":
    main()

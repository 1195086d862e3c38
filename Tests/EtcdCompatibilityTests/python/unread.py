"""Hundreds of watches on one stream that nobody reads, each of which would be told megabytes.

Prints what the member holds meanwhile, whether others are served, and whether everything comes once the stream is read.
"""
import argparse
import queue

import harness

WATCHES, PUTS, KEYS = 100, 40, 40
VALUE = bytes(50_000)
BOUND = 192 << 20


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


class Unread:
    """A stream whose messages stay where they are until somebody asks for them."""

    def __init__(self, connection):
        method = connection.protocol.methods["Watch/Watch"]
        self.requests, self.method = queue.Queue(), method
        invoke = connection.channel.stream_stream(
            method.path, request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString)
        self.responses = invoke(iter(self.requests.get, None), timeout=240)

    def send(self, **fields):
        self.requests.put(self.method.request(**fields))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("protos", "ports", "ca", "certificate", "key", "process"):
        parser.add_argument(f"--{option}", required=True)
    options = parser.parse_args()
    cluster = harness.Cluster("127.0.0.1", [int(options.ports.split(",")[0])], options.ca, options.certificate,
                              options.key, options.protos)
    cluster.wait_until_ready()
    c = harness.Context(cluster, "unread")
    for number in range(KEYS):
        c.put(f"{number:03}", VALUE)
    unread = Unread(c.connect())
    watched = dict(c.everything, prev_kv=True)
    for _ in range(WATCHES):
        unread.send(create_request=watched)
    # Answers to requests come first.
    created = sum(next(unread.responses).created for _ in range(WATCHES))
    reader = harness.Watching(c, at=c.connect())
    reader.create("a reader", **watched)
    before = resident(options.process)
    for number in range(PUTS):
        c.put("000", VALUE)
    # A revision of two megabytes.
    c.ask("KV/DeleteRange", **c.everything)
    held, most = True, 0
    while sum(map(len, reader.events.values())) < PUTS + KEYS and reader.pump(20):
        most = max(most, resident(options.process) - before)
    held = most < BOUND
    print(f"watches: {created}")
    print(f"the member holds no more than it may: {held or most >> 20}")
    print(f"the reader is told: {sum(map(len, reader.events.values()))}")
    print(f"others are served: {bool(c.ask('KV/Put', key=b'other', value=b'1'))}")
    told, parted = {}, 0
    while sum(told.values()) < WATCHES * (PUTS + KEYS):
        response = next(unread.responses)
        told[response.watch_id] = told.get(response.watch_id, 0) + len(response.events)
        deletions = sum(event.type == 1 for event in response.events)
        parted += 0 < deletions < KEYS
    print(f"everything comes when it is read: {set(told.values()) == {PUTS + KEYS}}")
    print(f"no revision in parts: {parted == 0}")
    c.close()


if __name__ == "__main__":
    main()

"""Watches: many on one stream, histories, filters, progress, fragments, resumption."""
from harness import Watching, scenario


@scenario("watch.basic")
def basic(c):
    watch = Watching(c)
    watch.create("one key", key=c.key("a"))
    c.put("a", b"1")
    c.put("b", b"not watched")
    c.put("a", b"2")
    c.ask("KV/DeleteRange", key=c.key("a"))
    c.put("a", b"3")
    watch.take("its events in order", 4)
    watch.quiet("and no other")
    watch.cancel("cancelled", 0)
    c.put("a", b"4")
    watch.quiet("nothing after that")
    watch.stream.send(cancel_request={"watch_id": 0})
    watch.stream.send(cancel_request={"watch_id": 77})
    watch.quiet("cancelled twice, cancelled without having been")
    watch.create("a prefix", **c.everything)
    c.ask("KV/Txn", success=[{"request_put": {"key": c.key("x"), "value": b"1"}},
                             {"request_put": {"key": c.key("y"), "value": b"1"}},
                             {"request_delete_range": {"key": c.key("a")}}])
    watch.take("a transaction's events", 3, watch_id=1)
    c.ask("KV/DeleteRange", **c.everything)
    watch.take("a deleted range's events", 3, watch_id=1)
    watch.create("no key at all", key=b"")
    watch.create("from a key on", key=c.key("from"), range_end=b"\x00", start_revision=c.base + 1)
    watch.create("the end before the beginning", key=c.key("b"), range_end=c.key("a"))


@scenario("watch.many")
def many(c):
    watch = Watching(c)
    for number in range(5):
        watch.create(f"number {number}", key=c.key(str(number)))
    watch.create("a chosen id", key=c.key("chosen"), watch_id=77)
    watch.create("the same id again", key=c.key("chosen"), watch_id=77)
    watch.create("the id of an automatic one", key=c.key("chosen"), watch_id=3)
    watch.create("an automatic one after them", key=c.key("0"))
    for number in range(5):
        c.put(str(number), b"1")
    c.put("chosen", b"1")
    for number in range(5):
        watch.take(f"events of {number}", 1, watch_id=number)
    watch.take("the chosen one's", 1, watch_id=77)
    watch.take("the second one of the same key", 1, watch_id=5)
    watch.cancel("one of them", 2)
    c.put("2", b"2")
    c.put("3", b"2")
    watch.take("another goes on", 1, watch_id=3)
    watch.create("the id is free again", key=c.key("2"), watch_id=2)
    c.put("2", b"3")
    watch.take("and works", 1, watch_id=2)
    watch.quiet("nothing more")


@scenario("watch.hundred")
def hundred(c):
    """A hundred watches of one stream, each told its own."""
    watch = Watching(c)
    for number in range(100):
        watch.stream.send(create_request={"key": c.key(f"{number:03}")})
    while len(watch.others) < 100 and watch.pump(5):
        pass
    c.note("created", sorted(other.watch_id for other in watch.others) == [*range(100)])
    ids = {number: other.watch_id for number, other in enumerate(watch.others)}
    for number in range(100):
        c.put(f"{number:03}", str(number).encode())
    while sum(map(len, watch.events.values())) < 100 and watch.pump(5):
        pass
    right = [number for number in range(100)
             if [event.kv.value for event in watch.events.get(ids[number], [])] == [str(number).encode()]]
    c.note("told", len(right))


@scenario("watch.options")
def options(c):
    c.put("a", b"0")
    watch = Watching(c)
    watch.create("without puts", key=c.key("a"), filters=["NOPUT"])
    watch.create("without deletions", key=c.key("a"), filters=["NODELETE"])
    watch.create("without either", key=c.key("a"), filters=["NOPUT", "NODELETE"])
    watch.create("with previous pairs", key=c.key("a"), prev_kv=True)
    c.put("a", b"1")
    c.ask("KV/DeleteRange", key=c.key("a"))
    c.put("a", b"2")
    watch.take("without puts", 1, watch_id=0)
    watch.take("without deletions", 2, watch_id=1)
    watch.take("with previous pairs", 3, watch_id=3)
    watch.quiet("nothing for the one without either")
    watch.create("previous pairs of the past", key=c.key("a"), prev_kv=True, start_revision=c.base + 1)
    watch.take("previous pairs of the past", 4, watch_id=4)
    watch.create("filtered past", key=c.key("a"), filters=["NOPUT"], start_revision=c.base + 1)
    watch.take("filtered past", 1, watch_id=5)


@scenario("watch.history")
def history(c):
    revisions = [c.put("a", str(number).encode()) for number in range(5)]
    c.put("b", b"1")
    watch = Watching(c)
    watch.create("from the first write", key=c.key("a"), start_revision=revisions[0])
    watch.take("all of it", 5)
    c.put("a", b"new")
    watch.take("and what comes then", 1)
    watch.create("from the middle", start_revision=revisions[3], **c.everything)
    watch.take("of all keys", 4, watch_id=1)
    watch.create("from the future", key=c.key("a"), start_revision=revisions[4] + 4)
    c.put("a", b"too early")
    c.put("a", b"in time")
    watch.take("only from then on", 1, watch_id=2)
    watch.take("the others have both", 2, watch_id=0)


@scenario("watch.compacted")
def compacted(c):
    revisions = [c.put("a", str(number).encode()) for number in range(5)]
    c.ask("KV/Compact", revision=revisions[3], physical=True)
    watch = Watching(c)
    watch.create("from a compacted revision", key=c.key("a"), start_revision=revisions[1])
    watch.other("is cancelled with the place to go on")
    watch.create("from the compaction's own revision", key=c.key("a"), start_revision=revisions[3])
    watch.quiet("its first answer", timeout=1)
    watch.create("from above", key=c.key("a"), start_revision=revisions[4])
    watch.take("events from above", 1, watch_id=2)
    watch.create("a watch from now on is unharmed", key=c.key("a"))
    c.put("a", b"new")
    watch.take("new events", 1, watch_id=3)
    last = c.put("a", b"newer")
    c.ask("KV/Compact", revision=last, physical=True)
    c.put("a", b"newest")
    watch.take("running watches outlive a compaction", 2, watch_id=3)


@scenario("watch.progress")
def progress(c):
    watch = Watching(c)
    watch.create("with progress notes", key=c.key("a"), progress_notify=True)
    c.put("a", b"1")
    watch.take("an event", 1)
    watch.stream.send(progress_request={})
    watch.other("progress when asked for")
    c.put("elsewhere", b"1")
    c.put("elsewhere", b"2")
    # A watcher may be told of a write elsewhere a moment after the write's own answer.
    c.until(lambda: progressed(c, watch) >= c.base + 3)
    c.note("progress covers what was written elsewhere", {"revision": progressed(c, watch)})
    watch.create("a second one", key=c.key("b"))
    c.note("progress is the stream's", {"revision": progressed(c, watch)})


def progressed(c, watch):
    watch.stream.send(progress_request={})
    while not watch.others and watch.pump(5):
        pass
    return watch.others.pop(0).header.revision if watch.others else 0


@scenario("watch.fragment")
def fragment(c):
    for number in range(60):
        c.put("large", bytes([number]) * 50_000)
    for fragment in (True, False):
        watch = Watching(c)
        watch.stream.send(create_request={"key": c.key("large"), "start_revision": c.base + 1, "fragment": fragment})
        created = watch.stream.next()
        messages = []
        while sum(len(message.events) for message in messages) < 60:
            message = watch.stream.next()
            if message is None or message is watch.stream.END:
                break
            messages.append(message)
        c.note(f"fragment {fragment}", {
            "created": bool(created and created.created),
            "events": sum(len(message.events) for message in messages),
            "in order": [event.kv.value[0] for message in messages for event in message.events] == [*range(60)],
            "pieces are small": all(message.ByteSize() < 2_200_000 for message in messages) if fragment else None,
            "more than one piece": len(messages) > 1 if fragment else None,
            # What of them are pieces of one answer is the server's to choose.
            "the last one is not marked": bool(messages) and not messages[-1].fragment})
        watch.close()
    c.ask("KV/DeleteRange", **c.everything)


@scenario("watch.large-revision")
def large_revision(c):
    """One revision of more than most messages hold is told whole, unless its reader takes fragments."""
    count = 120
    for number in range(count):
        c.put(f"{number:03}", bytes(50_000))
    live = [large_watch(c, fragment, 0) for fragment in (False, True)]
    reply = c.ask("KV/DeleteRange", **c.everything)
    deleted = reply.header.revision
    past = [large_watch(c, fragment, deleted) for fragment in (False, True)]
    for name, watches in (("told as it happens", live), ("told from the past", past)):
        for fragment, watch in zip((False, True), watches):
            messages = []
            while sum(len(message.events) for message in messages) < count:
                message = watch.stream.next()
                if message is None or message is watch.stream.END:
                    break
                messages.append(message)
            c.note(f"{name}, fragment {fragment}", {
                "events": [sum(len(message.events) for message in messages)],
                "of one revision": {event.kv.mod_revision for message in messages for event in message.events}
                == {deleted},
                "with what was there": all(len(event.prev_kv.value) == 50_000
                                           for message in messages for event in message.events),
                "in one message": len(messages) == 1,
                "pieces are small": all(message.ByteSize() < 2_200_000 for message in messages),
                "all but the last are marked": [message.fragment for message in messages]
                == [True] * (len(messages) - 1) + [False]})
            watch.close()


def large_watch(c, fragment, revision):
    watch = Watching(c)
    watch.stream.send(create_request=dict(
        c.everything, start_revision=revision, fragment=fragment, prev_kv=True, filters=["NOPUT"]))
    created = watch.stream.next()
    assert created and created.created
    return watch


@scenario("watch.resume")
def resume(c):
    """A client that loses its connection goes on at another member without a gap."""
    connection = c.connect(0)
    watch = Watching(c, at=connection)
    watch.create("at one member", **c.everything)
    for number in range(3):
        c.put(str(number), b"1")
    watch.take("the beginning", 3)
    after = watch.last_revision + 1
    connection.close()
    for number in range(3, 6):
        c.put(str(number), b"1")
    last = len(c.cluster.ports) - 1
    c.catch_up(last)
    other = Watching(c, at=last)
    other.create("at another one", start_revision=after, **c.everything)
    c.put("6", b"1")
    other.take("the rest", 4)
    other.quiet("no event twice")


@scenario("watch.members")
def members(c):
    """Watches at every member tell the same."""
    watches = [Watching(c, at=index, metadata=(("hasleader", "true"),)) for index in range(len(c.cluster.ports))]
    for index, watch in enumerate(watches, 1):
        c.catch_up(index - 1)
        watch.create(f"at member {index}", **c.everything)
    for number in range(10):
        c.ask("KV/Put", at=number % len(watches), key=c.key(str(number % 3)), value=str(number).encode())
    for index, watch in enumerate(watches, 1):
        watch.take(f"told by member {index}", 10)

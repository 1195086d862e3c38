"""Put, range, delete range, transactions, compaction and what is refused, over gRPC."""
from harness import scenario

NO_LEASE = 4242424242


@scenario("kv.put")
def put(c):
    a = c.key("a")
    c.call("a new key", "KV/Put", key=a, value=b"1")
    c.call("again", "KV/Put", key=a, value=b"2")
    c.call("with the previous pair", "KV/Put", key=a, value=b"3", prev_kv=True)
    c.call("the previous pair of a new key", "KV/Put", key=c.key("b"), value=b"1", prev_kv=True)
    c.call("an empty value", "KV/Put", key=c.key("empty"))
    c.call("its pair", "KV/Range", key=c.key("empty"))
    c.call("bytes that are no text", "KV/Put", key=c.key() + b"\x00\xff", value=b"\xfe\x00")
    c.call("their pair", "KV/Range", key=c.key() + b"\x00\xff")
    c.call("a lease", "Lease/LeaseGrant", ID=7101, TTL=600)
    c.call("with a lease", "KV/Put", key=a, value=b"4", lease=7101)
    c.call("its pair", "KV/Range", key=a)
    c.call("ignore_value keeps the value", "KV/Put", key=a, ignore_value=True, lease=7101, prev_kv=True)
    c.call("its pair", "KV/Range", key=a)
    c.call("ignore_lease keeps the lease", "KV/Put", key=a, value=b"5", ignore_lease=True)
    c.call("its pair", "KV/Range", key=a)
    c.call("both", "KV/Put", key=a, ignore_value=True, ignore_lease=True)
    c.call("its pair", "KV/Range", key=a)
    c.call("without a lease the key loses it", "KV/Put", key=a, value=b"6")
    c.call("its pair", "KV/Range", key=a)
    c.call("ignore_value with a value", "KV/Put", key=a, value=b"7", ignore_value=True)
    c.call("ignore_lease with a lease", "KV/Put", key=a, value=b"7", lease=7101, ignore_lease=True)
    c.call("ignore_value of no key", "KV/Put", key=c.key("none"), ignore_value=True)
    c.call("ignore_lease of no key", "KV/Put", key=c.key("none"), value=b"1", ignore_lease=True)
    c.call("no key", "KV/Put", value=b"1")
    c.call("a lease that is not there", "KV/Put", key=a, value=b"7", lease=NO_LEASE)
    c.call("nothing was changed by what was refused", "KV/Range", key=a)
    c.call("the lease goes", "Lease/LeaseRevoke", ID=7101)
    c.call("the key stays", "KV/Range", key=a)


@scenario("kv.range")
def ranges(c):
    for name in ("a", "b", "c", "d", "e"):
        c.put(name, b"1")
    c.put("c", b"2")
    c.put("a", b"9")
    all_keys = c.everything
    c.call("one key", "KV/Range", key=c.key("a"))
    c.call("no such key", "KV/Range", key=c.key("x"))
    c.call("a prefix", "KV/Range", **all_keys)
    c.call("from a key to another", "KV/Range", key=c.key("b"), range_end=c.key("d"))
    # How many keys there are beyond these is the business of other scenarios.
    for step, fields in (("from a key on", dict(key=c.key("d"), limit=2)),
                         ("from the first key on", dict(key=b"\x00", limit=1, min_create_revision=c.base + 1))):
        reply = c.ask("KV/Range", range_end=b"\x00", **fields)
        c.note(step, [pair.key for pair in reply.kvs] if reply else reply.message)
    c.call("the end before the beginning", "KV/Range", key=c.key("d"), range_end=c.key("b"))
    c.call("the end at the beginning", "KV/Range", key=c.key("d"), range_end=c.key("d"))
    c.call("a limit", "KV/Range", limit=2, **all_keys)
    c.call("a limit of all", "KV/Range", limit=5, **all_keys)
    c.call("a limit above all", "KV/Range", limit=6, **all_keys)
    c.call("keys only", "KV/Range", keys_only=True, **all_keys)
    c.call("count only", "KV/Range", count_only=True, **all_keys)
    c.call("count only with a limit", "KV/Range", count_only=True, limit=2, **all_keys)
    c.call("serializable", "KV/Range", serializable=True, limit=1, **all_keys)
    c.call("no key", "KV/Range")
    c.call("no key but an end", "KV/Range", range_end=c.key("z"))


@scenario("kv.range.sort")
def sort(c):
    for name, value in (("a", b"3"), ("b", b"1"), ("c", b"2"), ("d", b"1")):
        c.put(name, value)
    c.put("b", b"4")
    c.put("a", b"0")
    c.put("a", b"3")
    for target in ("KEY", "VERSION", "CREATE", "MOD", "VALUE"):
        for order in ("NONE", "ASCEND", "DESCEND"):
            c.call(f"{target} {order}", "KV/Range", sort_target=target, sort_order=order, keys_only=target != "VALUE",
                   **c.everything)
    c.call("descending with a limit", "KV/Range", sort_target="MOD", sort_order="DESCEND", limit=2, keys_only=True,
           **c.everything)
    c.call("descending by key with a limit", "KV/Range", sort_target="KEY", sort_order="DESCEND", limit=3,
           keys_only=True, **c.everything)


@scenario("kv.range.revisions")
def revisions(c):
    first = c.put("a", b"1")
    second = c.put("b", b"1")
    third = c.put("a", b"2")
    fourth = c.ask("KV/DeleteRange", key=c.key("b")).header.revision
    for name, revision in (("first", first), ("second", second), ("third", third), ("fourth", fourth)):
        c.call(f"at the {name} write", "KV/Range", revision=revision, **c.everything)
    c.call("before the first write", "KV/Range", revision=c.base, **c.everything)
    c.call("a negative revision means now", "KV/Range", revision=-1, **c.everything)
    c.call("in the future", "KV/Range", revision=fourth + 1, **c.everything)
    c.call("serializable, in the future", "KV/Range", revision=fourth + 100, serializable=True, **c.everything)
    c.put("c", b"1")
    for bounds in ({"min_mod_revision": third}, {"max_mod_revision": third}, {"min_create_revision": second},
                   {"max_create_revision": second}, {"min_mod_revision": second, "max_mod_revision": third},
                   {"min_mod_revision": fourth + 9}):
        name = " and ".join(f"{bound} +{value - c.base}" for bound, value in bounds.items())
        c.call(name, "KV/Range", **bounds, **c.everything)
        c.call(f"{name}, counted", "KV/Range", count_only=True, **bounds, **c.everything)
        c.call(f"{name}, one", "KV/Range", limit=1, **bounds, **c.everything)


@scenario("kv.delete")
def delete(c):
    for name in ("a", "b", "c", "d", "e"):
        c.put(name, name.encode())
    c.call("one key", "KV/DeleteRange", key=c.key("a"))
    c.call("the same again", "KV/DeleteRange", key=c.key("a"))
    c.call("the previous pair", "KV/DeleteRange", key=c.key("b"), prev_kv=True)
    c.call("the previous pair of no key", "KV/DeleteRange", key=c.key("b"), prev_kv=True)
    c.call("a range", "KV/DeleteRange", prev_kv=True, **c.everything)
    c.call("nothing is left", "KV/Range", **c.everything)
    c.call("a range of nothing", "KV/DeleteRange", **c.everything)
    c.call("no key", "KV/DeleteRange")
    c.call("the key again", "KV/Put", key=c.key("a"), value=b"new")
    c.call("begins a new life", "KV/Range", key=c.key("a"))
    c.call("the end before the beginning", "KV/DeleteRange", key=c.key("b"), range_end=c.key("a"))


def put_op(key, value=b"", **more):
    return {"request_put": dict(key=key, value=value, **more)}


def range_op(key, **more):
    return {"request_range": dict(key=key, **more)}


def delete_op(key, **more):
    return {"request_delete_range": dict(key=key, **more)}


@scenario("kv.txn")
def txn(c):
    a, b = c.key("a"), c.key("b")
    c.call("nothing at all", "KV/Txn")
    c.call("only puts", "KV/Txn", success=[put_op(a, b"1"), put_op(b, b"1")])
    c.call("one revision for both", "KV/Range", **c.everything)
    c.call("puts are seen by what follows", "KV/Txn", success=[
        put_op(a, b"2", prev_kv=True), range_op(a), put_op(c.key("new")), range_op(**c.everything, count_only=True),
        delete_op(c.key("new"), prev_kv=True), range_op(**c.everything, keys_only=True)])
    c.call("only reads keep the revision", "KV/Txn", success=[range_op(a), range_op(c.key("none"))])
    c.call("a delete of nothing keeps it", "KV/Txn", success=[delete_op(c.key("none"))])
    c.call("the failure branch", "KV/Txn", compare=[
        {"key": a, "target": "VALUE", "result": "EQUAL", "value": b"other"}],
        success=[put_op(a, b"wrong")], failure=[put_op(b, b"failed"), range_op(b)])
    c.call("all compares must hold", "KV/Txn", compare=[
        {"key": a, "target": "VALUE", "result": "EQUAL", "value": b"2"},
        {"key": b, "target": "VALUE", "result": "EQUAL", "value": b"other"}],
        success=[put_op(a, b"wrong")], failure=[range_op(a)])
    c.call("delete, then put of the same key", "KV/Txn", success=[delete_op(a), put_op(a, b"3")])
    c.call("its pair", "KV/Range", key=a)
    c.call("a read at an old revision", "KV/Txn", success=[range_op(a, revision=c.base + 1)])
    # Not beside a put: etcd's members then disagree on whether it was done (etcd-io/etcd, issue 18667).
    c.call("a read in the future", "KV/Txn", success=[range_op(a), range_op(a, revision=c.base + 1000)])
    c.call("a put with a lease that is not there", "KV/Txn",
           success=[put_op(b, b"lost?"), put_op(a, b"x", lease=4242424242)])
    c.call("what a refused lease left", "KV/Range", key=b)
    c.call("ignore_value of no key", "KV/Txn", success=[put_op(b, b"lost?"), put_op(c.key("none"), ignore_value=True)])
    c.call("what a refused put left", "KV/Range", key=b)


@scenario("kv.txn.compare")
def compare(c):
    first = c.put("a", b"m")
    second = c.put("a", b"n")
    c.ask("Lease/LeaseGrant", ID=7102, TTL=600)
    c.put("leased", b"1", lease=7102)
    targets = {"VERSION": ("version", (1, 2, 3)), "CREATE": ("create_revision", (first - 1, first, first + 1)),
               "MOD": ("mod_revision", (second - 1, second, second + 1)), "VALUE": ("value", (b"m", b"n", b"o"))}
    outcomes = {}
    for target, (field, values) in targets.items():
        for result in ("EQUAL", "GREATER", "LESS", "NOT_EQUAL"):
            reply = [c.ask("KV/Txn", compare=[{"key": c.key("a"), "target": target, "result": result, field: value}])
                     for value in values]
            outcomes[f"{target} {result}"] = [answer.succeeded if answer else answer.message for answer in reply]
    for result in ("EQUAL", "GREATER", "LESS", "NOT_EQUAL"):
        for key in ("a", "leased"):
            reply = [c.ask("KV/Txn", compare=[{"key": c.key(key), "target": "LEASE", "result": result, "lease": value}])
                     for value in (0, 7102, 7103)]
            outcomes[f"LEASE of {key} {result}"] = [answer.succeeded if answer else answer.message for answer in reply]
    c.note("below, at and above", outcomes)
    missing = {}
    for target, field, value in (("VERSION", "version", 0), ("CREATE", "create_revision", 0), ("MOD", "mod_revision", 0),
                                 ("LEASE", "lease", 0), ("VALUE", "value", b""), ("VALUE", "value", b"x")):
        for result in ("EQUAL", "GREATER", "LESS", "NOT_EQUAL"):
            reply = c.ask("KV/Txn", compare=[{"key": c.key("none"), "target": target, "result": result, field: value}])
            missing[f"{target} {result} {value!r}"] = reply.succeeded if reply else reply.message
    c.note("of a key that is not there", missing)
    c.put("b", b"n")
    every = {}
    for result, value in (("EQUAL", b"n"), ("NOT_EQUAL", b"x"), ("GREATER", b"m"), ("LESS", b"n")):
        reply = c.ask("KV/Txn", compare=[{"key": c.key("a"), "range_end": c.key("c"), "target": "VALUE",
                                          "result": result, "value": value}])
        every[f"{result} {value!r}"] = reply.succeeded if reply else reply.message
    c.note("every key of a range", every)
    c.call("a range of nothing, value", "KV/Txn", compare=[
        {"key": c.key("x"), "range_end": c.key("z"), "target": "VALUE", "result": "EQUAL", "value": b"n"}])
    c.call("a range of nothing, created", "KV/Txn", compare=[
        {"key": c.key("x"), "range_end": c.key("z"), "target": "CREATE", "result": "EQUAL", "create_revision": 0}])
    c.call("a range of nothing, version above", "KV/Txn", compare=[
        {"key": c.key("x"), "range_end": c.key("z"), "target": "VERSION", "result": "GREATER", "version": 0}])
    c.call("no value to compare with", "KV/Txn", compare=[
        {"key": c.key("none"), "target": "VERSION", "result": "EQUAL"}])
    c.call("a compare of no key", "KV/Txn", compare=[{"target": "VERSION", "result": "EQUAL", "version": 0}])
    c.call("the field of another target", "KV/Txn", compare=[
        {"key": c.key("none"), "target": "VERSION", "result": "EQUAL", "value": b"x"}])
    c.ask("Lease/LeaseRevoke", ID=7102)


@scenario("kv.txn.nested")
def nested(c):
    a = c.key("a")

    def when(value, success=(), failure=()):
        return {"request_txn": {"compare": [{"key": a, "target": "VALUE", "result": "EQUAL", "value": value}],
                                "success": success, "failure": failure}}

    c.put("a", b"1")
    c.call("two levels", "KV/Txn", compare=[{"key": a, "target": "VERSION", "result": "EQUAL", "version": 1}],
           success=[when(b"1", [put_op(a, b"2"), range_op(a)], [put_op(a, b"wrong")]), put_op(c.key("b"), b"1")])
    # Compares of nested transactions are evaluated before anything is done.
    c.call("a compare sees what was before", "KV/Txn",
           success=[put_op(a, b"3"), when(b"3", [range_op(a)], [put_op(c.key("saw the old"))])])
    c.call("three levels", "KV/Txn", success=[when(b"3", [when(b"3", [when(b"3", [range_op(a)])])])])
    c.call("one revision for all levels", "KV/Range", keys_only=True, **c.everything)
    c.call("a key twice, in two levels", "KV/Txn", success=[put_op(a, b"4"), when(b"3", [put_op(a, b"5")])])
    c.call("in the two branches of one", "KV/Txn", success=[when(b"3", [put_op(a, b"6")], [put_op(a, b"7")])])
    c.call("a refusal inside", "KV/Txn", success=[put_op(c.key("c")), when(b"6", [put_op(a, b"x", lease=424242)])])
    c.call("left nothing", "KV/Range", key=c.key("c"))


@scenario("kv.txn.refused")
def refused(c):
    a = c.key("a")
    c.call("a key put twice", "KV/Txn", success=[put_op(a, b"1"), put_op(a, b"2")])
    c.call("a key put twice in the branch not taken", "KV/Txn", failure=[put_op(a, b"1"), put_op(a, b"2")])
    c.call("put, then delete of its range", "KV/Txn", success=[put_op(a, b"1"), delete_op(**c.everything)])
    c.call("delete of its range, then put", "KV/Txn", success=[delete_op(**c.everything), put_op(a, b"1")])
    c.call("two deletes of a key", "KV/Txn", success=[delete_op(a), delete_op(a)])
    c.call("a key in each branch", "KV/Txn", success=[put_op(a, b"1")], failure=[put_op(a, b"2")])
    many = [put_op(c.key(f"many/{number:03}")) for number in range(129)]
    c.call("128 operations", "KV/Txn", success=many[:128], failure=many[:128])
    c.call("129 operations", "KV/Txn", success=many)
    c.call("129 in the branch not taken", "KV/Txn", failure=many)
    compares = [{"key": a, "target": "VERSION", "result": "GREATER", "version": 0}] * 129
    c.call("129 compares", "KV/Txn", compare=compares)
    c.call("129 nested", "KV/Txn", success=[{"request_txn": {"success": many}}])
    c.call("an operation that is none", "KV/Txn", success=[{}])
    c.call("no key inside", "KV/Txn", success=[put_op(b"", b"1")])
    c.call("nothing was written", "KV/Range", key=a)


@scenario("kv.compaction")
def compaction(c):
    revisions = [c.put("a", str(number).encode()) for number in range(6)]
    c.ask("KV/DeleteRange", key=c.key("a"))
    c.put("b", b"1")
    c.call("before the deletion", "KV/Compact", revision=revisions[3], physical=True)
    c.call("at the compacted revision", "KV/Range", key=c.key("a"), revision=revisions[3])
    c.call("below", "KV/Range", key=c.key("a"), revision=revisions[2])
    c.call("below, in a transaction", "KV/Txn", success=[range_op(c.key("a"), revision=revisions[2])])
    c.call("above", "KV/Range", key=c.key("a"), revision=revisions[4])
    c.call("the same again", "KV/Compact", revision=revisions[3])
    c.call("lower", "KV/Compact", revision=revisions[1])
    c.call("in the future", "KV/Compact", revision=revisions[5] + 1000)
    c.call("revision zero", "KV/Compact")
    c.call("a negative one", "KV/Compact", revision=-5)
    last = c.put("b", b"2")
    c.call("at the newest", "KV/Compact", revision=last)
    c.call("what is there stays", "KV/Range", revision=last, **c.everything)
    c.call("and so does now", "KV/Range", **c.everything)


@scenario("kv.refused")
def errors(c):
    large = b"x" * 50_000
    c.call("a value of 50 kB", "KV/Put", key=c.key("large"), value=large)
    c.call("its length", "KV/Range", key=c.key("large"))
    c.call("a key of 1 kB", "KV/Put", key=c.key("k" * 1000), value=b"1")
    c.call("its pair, counted", "KV/Range", key=c.key("k" * 1000), count_only=True)
    reply = c.ask("KV/Put", key=c.key("large"), value=b"x" * 5_000_000)
    # The numbers in the message are the transport's.
    c.note("far above any limit", {"code": getattr(reply, "code", "accepted")})
    c.call("the connection serves on", "KV/Range", key=c.key("large"), count_only=True)
    c.call("a required leader", "KV/Range", key=c.key("large"), count_only=True, metadata=(("hasleader", "true"),))
    c.call("a token of nobody", "KV/Range", key=c.key("large"), count_only=True, metadata=(("token", "nobody.1"),))
    c.call("a value above 1.5 MiB", "KV/Put", key=c.key("large"), value=b"x" * 1_600_000)
    c.call("a value of 1 MB", "KV/Put", key=c.key("larger"), value=b"x" * 1_000_000)
    c.call("a key of 64 KiB", "KV/Put", key=c.key("k" * 65536), value=b"1")
    left = c.ask("KV/DeleteRange", **c.everything)
    c.note("all of it deleted", bool(left))


@scenario("kv.members")
def members(c):
    """One truth: written at one member, read at the others."""
    for index in range(len(c.cluster.ports)):
        c.call(f"written at {index + 1}", "KV/Put", at=index, key=c.key("shared"), value=f"from {index + 1}".encode())
        for other in range(len(c.cluster.ports)):
            c.call(f"written at {index + 1}, read at {other + 1}", "KV/Range", at=other, key=c.key("shared"))


@scenario("kv.large-answers")
def large_answers(c):
    """Everything at once, several times over one connection."""
    count = 500
    for future in [c.future("KV/Put", key=c.key(f"{number:03}"), value=bytes(50_000)) for number in range(count)]:
        future.result(timeout=30)
    answers = [c.future("KV/Range", **c.everything) for _ in range(4)]
    small = c.future("KV/Range", key=c.key("007"))
    c.note("the small one", small.result(timeout=30).count)
    c.note("complete", [len(answer.result(timeout=60).kvs) == count for answer in answers])
    c.ask("KV/DeleteRange", **c.everything)

"""Users, roles, permissions and tokens. Turned off again in the end, whatever happens."""
from harness import Watching, scenario

READ, WRITE, BOTH = "READ", "WRITE", "READWRITE"


def role(c, name, key, end=b"", kind=READ):
    return dict(name=name, perm={"permType": kind, "key": key, "range_end": end})


@scenario("auth.accounts")
def accounts(c):
    """Accounts can be prepared while nobody asks for them."""
    c.call("status", "Auth/AuthStatus")
    c.call("a token while nobody asks for one", "Auth/Authenticate", name="nobody", password="x")
    c.call("a user", "Auth/UserAdd", name="u1", password="p1")
    c.call("the same again", "Auth/UserAdd", name="u1", password="p2")
    c.call("without a name", "Auth/UserAdd", password="p")
    c.call("without a password", "Auth/UserAdd", name="u2")
    c.call("with none to have", "Auth/UserAdd", name="u3", options={"no_password": True})
    c.call("users", "Auth/UserList")
    c.call("a role", "Auth/RoleAdd", name="r1")
    c.call("the same again", "Auth/RoleAdd", name="r1")
    c.call("without a name", "Auth/RoleAdd")
    c.call("another", "Auth/RoleAdd", name="r2")
    c.call("roles", "Auth/RoleList")
    c.call("a permission", "Auth/RoleGrantPermission", **role(c, "r1", b"k"))
    c.call("changed", "Auth/RoleGrantPermission", **role(c, "r1", b"k", kind=BOTH))
    c.call("of a range", "Auth/RoleGrantPermission", **role(c, "r1", b"a", b"c", WRITE))
    c.call("of everything", "Auth/RoleGrantPermission", **role(c, "r2", b"\x00", b"\x00"))
    c.call("of a range that ends before it begins", "Auth/RoleGrantPermission", **role(c, "r1", b"c", b"a"))
    c.call("of nothing", "Auth/RoleGrantPermission", name="r1")
    c.call("to no role", "Auth/RoleGrantPermission", **role(c, "r9", b"k"))
    c.call("the role", "Auth/RoleGet", role="r1")
    c.call("the other", "Auth/RoleGet", role="r2")
    c.call("no such role", "Auth/RoleGet", role="r9")
    c.call("a permission revoked", "Auth/RoleRevokePermission", role="r1", key=b"k")
    c.call("twice", "Auth/RoleRevokePermission", role="r1", key=b"k")
    c.call("of no role", "Auth/RoleRevokePermission", role="r9", key=b"k")
    c.call("the role now", "Auth/RoleGet", role="r1")
    c.call("given to a user", "Auth/UserGrantRole", user="u1", role="r1")
    c.call("twice", "Auth/UserGrantRole", user="u1", role="r1")
    c.call("another one too", "Auth/UserGrantRole", user="u1", role="r2")
    c.call("no such role to give", "Auth/UserGrantRole", user="u1", role="r9")
    c.call("no such user", "Auth/UserGrantRole", user="u9", role="r1")
    c.call("the user", "Auth/UserGet", name="u1")
    c.call("no such user to get", "Auth/UserGet", name="u9")
    c.call("taken back", "Auth/UserRevokeRole", name="u1", role="r2")
    c.call("what was not given", "Auth/UserRevokeRole", name="u1", role="r2")
    c.call("from nobody", "Auth/UserRevokeRole", name="u9", role="r2")
    c.call("a role goes, and leaves its users", "Auth/RoleDelete", role="r1")
    c.call("the user now", "Auth/UserGet", name="u1")
    c.call("no role to go", "Auth/RoleDelete", role="r1")
    c.call("a new password", "Auth/UserChangePassword", name="u1", password="new")
    c.call("an empty one", "Auth/UserChangePassword", name="u1", password="")
    c.call("of nobody", "Auth/UserChangePassword", name="u9", password="x")
    c.call("turned on without a root", "Auth/AuthEnable")
    c.call("root without the role", "Auth/UserAdd", name="root", password="rootpw")
    c.call("turned on without root's role", "Auth/AuthEnable")
    c.call("turned off while it is off", "Auth/AuthDisable")
    for name in ("u1", "u2", "u3", "root"):
        c.call(f"{name} goes", "Auth/UserDelete", name=name)
    c.call("nobody to go", "Auth/UserDelete", name="u1")
    c.call("the last role goes", "Auth/RoleDelete", role="r2")
    c.call("no users", "Auth/UserList")
    c.call("no roles", "Auth/RoleList")


@scenario("auth.enforced")
def enforced(c):
    inside, outside = c.key("in/a"), c.key("out/a")
    for method, fields in (
            ("Auth/UserAdd", dict(name="root", password="rootpw")), ("Auth/RoleAdd", dict(name="root")),
            ("Auth/UserGrantRole", dict(user="root", role="root")),
            ("Auth/UserAdd", dict(name="writer", password="writerpw")), ("Auth/RoleAdd", dict(name="inside")),
            ("Auth/UserAdd", dict(name="reader", password="readerpw")), ("Auth/RoleAdd", dict(name="looks")),
            ("Auth/RoleGrantPermission", role(c, "inside", c.key("in/"), c.key("in0"), BOTH)),
            ("Auth/RoleGrantPermission", role(c, "looks", c.key("in/"), c.key("in0"), READ)),
            ("Auth/UserGrantRole", dict(user="writer", role="inside")),
            ("Auth/UserGrantRole", dict(user="reader", role="looks"))):
        c.call(f"prepared: {method}", method, **fields)
    c.ask("KV/Put", key=inside, value=b"1")
    c.ask("KV/Put", key=outside, value=b"1")
    root = writer = reader = ()
    try:
        c.call("turned on", "Auth/AuthEnable")
        root = token(c, "root", "rootpw")
        writer, reader = token(c, "writer", "writerpw"), token(c, "reader", "readerpw")
        c.note("everybody gets a token", [bool(root), bool(writer), bool(reader)])
        asks(c, root, writer, reader, inside, outside)
    finally:
        turn_off(c)
    c.call("turned off: the client is asked for nothing", "KV/Range", key=outside)
    for name in ("root", "writer", "reader", "tester"):
        c.ask("Auth/UserDelete", name=name)
    for name in ("root", "inside", "looks"):
        c.ask("Auth/RoleDelete", role=name)
    c.call("status in the end", "Auth/UserList")


def turn_off(c):
    """Whatever has happened since: nothing works without a token otherwise."""
    for _ in range(5):
        root = token(c, "root", "rootpw")
        if not root or c.ask("Auth/AuthDisable", metadata=root):
            return


def token(c, name, password):
    reply = c.ask("Auth/Authenticate", name=name, password=password, metadata=())
    return (("token", reply.token),) if reply else ()


def asks(c, root, writer, reader, inside, outside):
    c.call("turned on twice", "Auth/AuthEnable", metadata=root)
    c.call("the wrong password", "Auth/Authenticate", name="root", password="wrong")
    c.call("no such user", "Auth/Authenticate", name="u9", password="wrong")
    c.call("without a token, under a certificate of nobody", "KV/Range", key=inside)
    c.call("a put without a token", "KV/Put", key=inside, value=b"x")
    c.call("a token of nobody", "KV/Range", key=inside, metadata=(("token", "nobody.1"),))
    c.call("the same as authorization", "KV/Range", key=inside, metadata=(("authorization", writer[0][1]),))
    for name, who in (("root", root), ("writer", writer), ("reader", reader)):
        c.call(f"{name} puts inside", "KV/Put", key=inside, value=name.encode(), metadata=who)
        c.call(f"{name} puts outside", "KV/Put", key=outside, value=name.encode(), metadata=who)
        c.call(f"{name} reads inside", "KV/Range", key=inside, metadata=who)
        c.call(f"{name} reads outside", "KV/Range", key=outside, metadata=who)
        c.call(f"{name} reads all of the inside", "KV/Range", key=c.key("in/"), range_end=c.key("in0"), metadata=who)
        c.call(f"{name} reads more than that", "KV/Range", count_only=True, metadata=who, **c.everything)
        c.call(f"{name} deletes", "KV/DeleteRange", key=inside, metadata=who)
        c.call(f"{name} puts with the previous pair", "KV/Put", key=inside, value=b"again", prev_kv=True, metadata=who)
    c.call("a transaction within", "KV/Txn", metadata=writer, compare=[
        {"key": inside, "target": "VERSION", "result": "GREATER", "version": 0}],
        success=[{"request_range": {"key": inside}}])
    c.call("a compare outside", "KV/Txn", metadata=writer, compare=[
        {"key": outside, "target": "VERSION", "result": "GREATER", "version": 0}])
    c.call("a put outside in the branch not taken", "KV/Txn", metadata=writer,
           failure=[{"request_put": {"key": outside, "value": b"x"}}])
    for step, key, who in (("inside", inside, reader), ("outside", outside, reader), ("without a token", inside, ())):
        watch = Watching(c, metadata=who)
        watch.create(f"a watch {step}", key=key)
        watch.close()
    c.call("users, asked by root", "Auth/UserList", metadata=root)
    c.call("users, asked by another", "Auth/UserList", metadata=writer)
    c.call("a user's own roles", "Auth/UserGet", name="writer", metadata=writer)
    c.call("another's", "Auth/UserGet", name="reader", metadata=writer)
    c.call("its own role", "Auth/RoleGet", role="inside", metadata=writer)
    c.call("another's role", "Auth/RoleGet", role="looks", metadata=writer)
    c.call("a user added by another", "Auth/UserAdd", name="u1", password="p", metadata=writer)
    c.call("compaction by another", "KV/Compact", revision=1, metadata=writer)
    c.call("a lease by another", "Lease/LeaseGrant", ID=7501, TTL=600, metadata=writer)
    c.call("a put with it", "KV/Put", key=inside, value=b"leased", lease=7501, metadata=writer)
    c.call("revoked by one who may not write its keys", "Lease/LeaseRevoke", ID=7501, metadata=reader)
    c.call("revoked by one who may", "Lease/LeaseRevoke", ID=7501, metadata=writer)
    c.call("status, asked by another", "Auth/AuthStatus", metadata=writer)
    c.call("status, asked by root", "Auth/AuthStatus", metadata=root)
    c.call("the root role goes", "Auth/RoleDelete", role="root", metadata=root)
    c.call("the root user goes", "Auth/UserDelete", name="root", metadata=root)
    c.call("root's role is taken back", "Auth/UserRevokeRole", name="root", role="root", metadata=root)
    c.call("turned off by another", "Auth/AuthDisable", metadata=writer)
    c.call("a user as the certificate's", "Auth/UserAdd", name="tester", options={"no_password": True}, metadata=root)
    c.call("is the client", "KV/Range", key=inside)
    c.call("with what it may", "Auth/UserGrantRole", user="tester", role="looks", metadata=root)
    c.call("may now", "KV/Range", key=inside)
    c.call("but no more", "KV/Put", key=inside, value=b"x")
    c.call("has no password", "Auth/Authenticate", name="tester", password="")
    c.call("a changed role", "Auth/RoleRevokePermission", role="inside", key=c.key("in/"), range_end=c.key("in0"),
           metadata=root)
    fresh = token(c, "writer", "writerpw")
    c.call("counts at once", "KV/Range", key=inside, metadata=fresh)
    c.call("a changed password", "Auth/UserChangePassword", name="writer", password="new", metadata=root)
    c.call("ends the old one", "Auth/Authenticate", name="writer", password="writerpw")
    c.call("a user goes", "Auth/UserDelete", name="reader", metadata=root)
    c.note("with its tokens", bool(c.ask("KV/Range", key=inside, metadata=reader)))

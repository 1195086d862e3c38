"""The JSON gateway on HTTP/1.1, as Patroni and etcd3gw use it."""
import base64
import http.client
import json
import ssl
import threading

from harness import scenario
from scenarios_auth import turn_off


def b64(value):
    return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()


class Gateway:
    """One HTTP/1.1 connection with a client certificate."""

    def __init__(self, c, at=0, negotiates=True, unnamed=False):
        self.c, self.token = c, None
        context = ssl.create_default_context(cafile=c.cluster.ca)
        context.load_cert_chain(*c.cluster.unnamed if unnamed else (c.cluster.certificate, c.cluster.key))
        if negotiates:
            context.set_alpn_protocols(["http/1.1"])
        self.connection = http.client.HTTPSConnection(
            c.cluster.host, c.cluster.ports[at], timeout=15, context=context)
        c.opened.append(self.connection.close)

    def send(self, method, path, body=None, headers=()):
        headers = dict(headers)
        if self.token:
            headers["Authorization"] = self.token
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        self.connection.request(method, path, body, headers)
        return self.connection.getresponse()

    def ask(self, step, path, body=None, method="POST", ids="lease", headers=(), plain=False):
        """Records status and body."""
        try:
            response = self.send(method, path, {} if body is None and method == "POST" else body, headers)
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            self.c.note(step, f"{type(error).__name__}")
            return None
        try:
            answer = None if plain else json.loads(text)
        except ValueError:
            answer = None
        self.c.note(step, {"status": response.status, "body": text.strip() if answer is None else answer}, ids)
        return answer

    def stream(self, path, body):
        """Begins a call whose answer is a stream of lines; yields them."""
        response = self.send("POST", path, body)
        yield response.status
        while line := response.readline():
            yield json.loads(line)


def pair(c, name, value=""):
    return {"key": b64(c.key(name)), "value": b64(value)}


@scenario("gateway.kv")
def kv(c):
    gate = Gateway(c)
    response = gate.send("GET", "/version")
    version = json.loads(response.read())
    c.note("version", {"status": response.status, "fields": sorted(version),
                       "server": ".".join(version.get("etcdserver", "").split(".")[:2]),
                       "cluster": ".".join(version.get("etcdcluster", "").split(".")[:2])})
    gate.ask("put", "/v3/kv/put", pair(c, "a", "1"))
    gate.ask("put with the previous pair", "/v3/kv/put", {**pair(c, "a", "2"), "prev_kv": True})
    gate.ask("put of bytes", "/v3/kv/put", {"key": b64(c.key() + b"\xff"), "value": b64(b"\x00\xff")})
    gate.ask("range", "/v3/kv/range", {"key": b64(c.key("a"))})
    whole = {"key": b64(c.key()), "range_end": b64(c.key()[:-1] + b"0")}
    gate.ask("a prefix", "/v3/kv/range", whole)
    gate.ask("its other spelling", "/v3/kv/range", {"key": whole["key"], "rangeEnd": whole["range_end"]})
    gate.ask("options", "/v3/kv/range", {**whole, "limit": "1", "sort_order": "DESCEND", "sort_target": "KEY",
                                         "keys_only": True, "serializable": True})
    gate.ask("numbers as numbers", "/v3/kv/range", {**whole, "limit": 1, "sort_order": 1, "sort_target": 0})
    gate.ask("a revision as a string", "/v3/kv/range", {**whole, "revision": str(c.base + 1)})
    gate.ask("and as a number", "/v3/kv/range", {**whole, "revision": c.base + 1})
    gate.ask("nothing there", "/v3/kv/range", {"key": b64(c.key("none"))})
    gate.ask("counted", "/v3/kv/range", {**whole, "count_only": True})
    create = {"compare": [{"key": b64(c.key("t")), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}],
              "success": [{"request_put": pair(c, "t", "1")}],
              "failure": [{"request_range": {"key": b64(c.key("t"))}}]}
    gate.ask("a transaction", "/v3/kv/txn", create)
    gate.ask("its failure", "/v3/kv/txn", create)
    gate.ask("spelled as etcd3gw does", "/v3/kv/txn", {
        "compare": [{"key": b64(c.key("t")), "result": "EQUAL", "target": "VALUE", "value": b64("1")}],
        "success": [{"requestPut": pair(c, "t", "2")}, {"requestDeleteRange": {"key": b64(c.key("a"))}}],
        "failure": []})
    gate.ask("delete", "/v3/kv/deleterange", {"key": b64(c.key("t")), "prev_kv": True})
    gate.ask("delete of nothing", "/v3/kv/deleterange", {"key": b64(c.key("t"))})
    gate.ask("compaction", "/v3/kv/compaction", {"revision": str(c.base + 2)})
    gate.ask("a compacted revision", "/v3/kv/range", {**whole, "revision": c.base + 1})
    gate.ask("twice", "/v3/kv/compaction", {"revision": str(c.base + 2)})


@scenario("gateway.refused")
def refused(c):
    gate = Gateway(c)
    gate.ask("no key", "/v3/kv/put", {"value": b64("1")})
    gate.ask("a lease that is not there", "/v3/kv/put", {**pair(c, "a"), "lease": "4242424242"})
    for step, body in (("no JSON", "{"), ("no object", "[1]"), ("no base64", '{"key": "?"}'),
                       ("a number of the wrong kind", '{"key": "YQ==", "limit": "x"}'),
                       ("a field of nobody", '{"key": "YQ==", "nonsense": 1}')):
        response = gate.send("POST", "/v3/kv/range", body, {"Content-Type": "application/json"})
        text = response.read()
        try:
            code = json.loads(text).get("code")
        except ValueError:
            code = None
        # The words are those of a library.
        c.note(step, {"status": response.status, "code": code})
    gate.ask("no body", "/v3/kv/range", "")
    gate.ask("a path of nobody", "/v3/nonsense", {}, plain=True)
    response = gate.send("GET", "/v3/kv/range")
    response.read()
    c.note("asked with GET", {"refused": response.status >= 400})
    gate.ask("serves on", "/v3/kv/range", {"key": b64(c.key("a"))})


@scenario("gateway.lease")
def lease(c):
    gate = Gateway(c)
    gate.ask("granted", "/v3/lease/grant", {"ID": 7801, "TTL": 600})
    gate.ask("as strings", "/v3/lease/grant", {"ID": "7802", "TTL": "600"})
    gate.ask("a given id", "/v3/lease/grant", {"TTL": 600})
    gate.ask("taken", "/v3/lease/grant", {"ID": 7801, "TTL": 600})
    gate.ask("put with it", "/v3/kv/put", {**pair(c, "a", "1"), "lease": "7801"})
    gate.ask("its pair", "/v3/kv/range", {"key": b64(c.key("a"))})
    gate.ask("kept alive", "/v3/lease/keepalive", {"ID": 7801})
    gate.ask("as a string", "/v3/lease/keepalive", {"ID": "7801"})
    gate.ask("one that is not there", "/v3/lease/keepalive", {"ID": "4242424242"})
    for path in ("/v3/lease/timetolive", "/v3/kv/lease/timetolive"):
        response = gate.send("POST", path, {"ID": "7801", "keys": True})
        body = json.loads(response.read())
        body["TTL"] = "some" if 0 < int(body.get("TTL", 0)) <= 600 else body.get("TTL")
        c.note(path, {"status": response.status, "body": body})
    response = gate.send("POST", "/v3/lease/leases", {})
    leases = [entry["ID"] for entry in json.loads(response.read()).get("leases", [])]
    c.note("listed", {"status": response.status, "ours": sorted(lease for lease in leases if len(lease) == 4)})
    gate.ask("revoked", "/v3/lease/revoke", {"ID": "7801"})
    gate.ask("revoked by its older path", "/v3/kv/lease/revoke", {"ID": "7802"})
    gate.ask("the key is gone", "/v3/kv/range", {"key": b64(c.key("a"))})
    gate.ask("revoked twice", "/v3/lease/revoke", {"ID": "7801"})


@scenario("gateway.watch")
def watch(c):
    gate, writer = Gateway(c), Gateway(c)
    first = c.put("a", b"0")
    lines = gate.stream("/v3/watch", {"create_request": {
        "key": b64(c.key()), "range_end": b64(c.key()[:-1] + b"0"), "start_revision": str(first), "prev_kv": True}})
    c.note("begun", {"status": next(lines), "first line": next(lines)})
    writer.ask("put", "/v3/kv/put", pair(c, "a", "1"))
    writer.ask("deleted", "/v3/kv/deleterange", {"key": b64(c.key("a"))})
    events = []
    while len(events) < 3:
        events += next(lines)["result"].get("events", [])
    c.note("events", events)
    c.ask("KV/Compact", revision=first + 2, physical=True)
    other = Gateway(c).stream("/v3/watch", {"create_request": {"key": b64(c.key("a")), "start_revision": first}})
    c.note("from a compacted revision", {"status": next(other), "lines": [next(other), next(other)]})


@scenario("gateway.recipes")
def recipes(c):
    gate = Gateway(c)
    gate.ask("a lease", "/v3/lease/grant", {"ID": 7811, "TTL": 600})
    taken = gate.ask("lock", "/v3/lock/lock", {"name": b64(c.key("l")), "lease": "7811"})
    gate.ask("unlock", "/v3/lock/unlock", {"key": (taken or {}).get("key", b64("none"))})
    won = gate.ask("campaign", "/v3/election/campaign",
                   {"name": b64(c.key("e")), "lease": "7811", "value": b64("v")})
    gate.ask("leader", "/v3/election/leader", {"name": b64(c.key("e"))})
    leader = (won or {}).get("leader", {})
    gate.ask("proclaim", "/v3/election/proclaim", {"leader": leader, "value": b64("w")})
    gate.ask("resign", "/v3/election/resign", {"leader": leader})
    gate.ask("nobody leads", "/v3/election/leader", {"name": b64(c.key("e"))})
    gate.ask("revoked", "/v3/lease/revoke", {"ID": "7811"})


@scenario("gateway.cluster")
def cluster(c):
    for index, endpoint in enumerate(c.cluster.endpoints):
        gate = Gateway(c, at=index)
        for path in ("/v3/cluster/member/list", "/v3/cluster/member_list"):
            response = gate.send("POST", path, {})
            text = response.read()
            if response.status != 200:
                c.note(f"{path} at {index + 1}", {"status": response.status})
                continue
            listed = json.loads(text)
            urls = [url for member in listed["members"] for url in member["clientURLs"]]
            c.note(f"{path} at {index + 1}", {
                "status": 200, "header": listed["header"], "fields": sorted(listed["members"][0]),
                "ids are strings": all(isinstance(member["ID"], str) for member in listed["members"]),
                "urls": sorted(urls) == sorted(f"https://{endpoint}" for endpoint in c.cluster.endpoints)})
        response = gate.send("POST", "/v3/maintenance/status", {})
        status = json.loads(response.read())
        c.note(f"status at {index + 1}", {"status": response.status, "fields": sorted(status),
                                          "types": sorted({type(value).__name__ for value in status.values()})})
    gate = Gateway(c)
    gate.ask("alarms", "/v3/maintenance/alarm", {"action": "GET"})
    gate.ask("hash", "/v3/maintenance/hash", {})
    gate.ask("defragmented", "/v3/maintenance/defragment", {})
    gate.ask("health", "/health", method="GET")
    response = gate.send("POST", "/v3/maintenance/snapshot", {})
    first = json.loads(response.readline())
    c.note("a snapshot's first line", {"status": response.status, "fields": sorted(first.get("result", first))})
    plain = Gateway(c, negotiates=False)
    plain.ask("without a negotiated protocol", "/v3/kv/range", {"key": b64(c.key("none"))})


@scenario("gateway.auth")
def auth(c):
    gate = Gateway(c)
    gate.ask("a token while nobody asks for one", "/v3/auth/authenticate", {"name": "root", "password": "pw"})
    steps = (("/v3/auth/user/add", {"name": "root", "password": "rootpw"}), ("/v3/auth/role/add", {"name": "root"}),
             ("/v3/auth/user/grant", {"user": "root", "role": "root"}),
             ("/v3/auth/user/add", {"name": "u1", "password": "u1pw"}), ("/v3/auth/role/add", {"name": "r1"}),
             ("/v3/auth/role/grant", {"name": "r1", "perm": {
                 "permType": "READ", "key": b64(c.key("a")), "range_end": b64(c.key("b"))}}),
             ("/v3/auth/user/grant", {"user": "u1", "role": "r1"}), ("/v3/auth/user/get", {"name": "u1"}),
             ("/v3/auth/role/get", {"role": "r1"}), ("/v3/auth/user/list", {}), ("/v3/auth/role/list", {}))
    for path, body in steps:
        gate.ask(path, path, body)
    gate.ask("a value", "/v3/kv/put", pair(c, "a", "1"))
    root = Gateway(c, unnamed=True)
    try:
        gate.ask("turned on", "/v3/auth/enable", {})
        gate.ask("under a certificate with a name", "/v3/kv/range", {"key": b64(c.key("a"))})
        root.token = token(c, root, "root", "rootpw")
        root.ask("the wrong password", "/v3/auth/authenticate", {"name": "u1", "password": "no"})
        root.ask("root reads", "/v3/kv/range", {"key": b64(c.key("a"))})
        user = Gateway(c, unnamed=True)
        # Certificates speak for nobody here: etcd's gateway calls for its clients.
        user.ask("without a token", "/v3/kv/range", {"key": b64(c.key("a"))})
        user.token = token(c, user, "u1", "u1pw")
        user.ask("may read", "/v3/kv/range", {"key": b64(c.key("a"))})
        user.ask("may not write", "/v3/kv/put", pair(c, "a", "2"))
        user.token = "nobody.1"
        user.ask("a token of nobody", "/v3/kv/range", {"key": b64(c.key("a"))})
        root.ask("turned off", "/v3/auth/disable", {})
    finally:
        turn_off(c)
    for name in ("u1", "root"):
        gate.ask(f"{name} goes", "/v3/auth/user/delete", {"name": name})
    for name in ("r1", "root"):
        gate.ask(f"role {name} goes", "/v3/auth/role/delete", {"role": name})


def token(c, gate, name, password):
    response = gate.send("POST", "/v3/auth/authenticate", {"name": name, "password": password})
    answer = json.loads(response.read())
    c.note(f"a token for {name}", {"status": response.status, "fields": sorted(answer)})
    return answer.get("token")


@scenario("gateway.v2")
def v2(c):
    """What torch's `etcd-v2` rendezvous asks for."""
    gate = Gateway(c)
    path = "/v2/keys/rendezvous"
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def node(value):
        return {key: "some" if key in ("createdIndex", "modifiedIndex", "expiration") else item
                for key, item in value.items()}

    def ask(step, method, path, body=None):
        response = gate.send(method, path, body, form if body is not None else {})
        answer = json.loads(response.read())
        index = answer.get("node", {}).get("modifiedIndex")
        if "index" in step:
            answer.pop("cause", None)
        for key, value in answer.items():
            answer[key] = node(value) if isinstance(value, dict) else "some" if key == "index" else value
        c.note(step, {"status": response.status, "indexed": response.getheader("X-Etcd-Index") is not None,
                      "body": answer})
        return index

    gate.send("DELETE", path).read()
    response = gate.send("GET", "/v2/machines")
    c.note("machines", {"status": response.status, "members": sorted(
        c.normal.text(machine.strip()) for machine in response.read().decode().split(","))})
    ask("nothing there", "GET", path)
    ask("created", "PUT", path, "value=1&prevExist=false")
    ask("created twice", "PUT", path, "value=2&prevExist=false")
    index = ask("read", "GET", path)
    ask("another value before", "PUT", path, "value=2&prevValue=9")
    ask("the right value before", "PUT", path, "value=2&prevValue=1")
    ask("another index before", "PUT", path, f"value=3&prevIndex={index}")
    index = ask("read again", "GET", path)
    ask("the right index before", "PUT", path, f"value=3&prevIndex={index}")
    ask("set", "PUT", path, "value=4")
    ask("for a while", "PUT", path, "value=5&ttl=300")
    ask("only if it is there", "PUT", path + "x", "value=1&prevExist=true")
    waiting = Gateway(c)
    waiting.connection.request("GET", path + "?wait=true")
    box = []
    thread = threading.Thread(target=lambda: box.append(waiting.connection.getresponse().read()), daemon=True)
    thread.start()
    thread.join(0.3)
    c.note("waits", thread.is_alive())
    ask("set", "PUT", path, "value=6")
    thread.join(10)
    answer = json.loads(box[0]) if box else {}
    c.note("told", {"action": answer.get("action"), "value": answer.get("node", {}).get("value")})
    gate.send("DELETE", path).read()

"""What scenarios share: the registry, the connections of a cluster, and the record of what it answered."""
import pathlib
import time
import traceback

import grpc

from normal import Normaliser, tree
from wire import Connection, Protocol, Stream

SCENARIOS = {}


def scenario(name):
    """Registers a function that gets a `Context`; scenarios run in the order of their registration."""

    def register(function):
        assert name not in SCENARIOS, name
        SCENARIOS[name] = function
        return function

    return register


class Cluster:
    """The endpoints that a suite runs against."""

    def __init__(self, host, ports, ca, certificate, key, protos=None, tools=None):
        self.host, self.ports = host, ports
        self.ca, self.certificate, self.key = ca, certificate, key
        #: A second client certificate, whose subject has no common name.
        self.unnamed = [str(pathlib.Path(certificate).with_name(f"unnamed.{kind}")) for kind in ("pem", "key")]
        self.tools = tools or {}
        self.protocol = Protocol(protos) if protos else None
        read = [open(path, "rb").read() for path in (ca, key, certificate)]
        self.credentials = grpc.ssl_channel_credentials(*read)
        self.connections = []
        if self.protocol:
            self.connections = [self.connect(index) for index in range(len(ports))]

    @property
    def endpoints(self):
        return [f"{self.host}:{port}" for port in self.ports]

    def connect(self, index=0):
        return Connection(self.protocol, self.endpoints[index], self.credentials)

    def wait_until_ready(self, limit=60):
        """A linearizable read succeeds at every endpoint."""
        deadline = time.monotonic() + limit
        for connection in self.connections:
            while True:
                try:
                    connection.call("KV/Range", {"key": b"ready"}, timeout=2)
                    break
                except grpc.RpcError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)

    def members(self):
        reply = self.connections[0].call("Cluster/MemberList", {})
        return {member.ID: member.name for member in reply.members}

    def revision(self):
        return self.connections[0].call("KV/Range", {"key": b"ready"}).header.revision


class Fault:
    """A refusal: its code and its message. False where an answer is true."""

    def __init__(self, error):
        self.code, self.message = error.code().name, error.details()

    def __bool__(self):
        return False


class Context:
    """One run of one scenario: calls, and the record of their normalised answers."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.steps, self.opened = [], []
        members, base = {}, 0
        for _ in range(20):
            try:
                # What an earlier run left would be counted otherwise.
                cluster.connections[0].call("KV/DeleteRange", self.everything)
                members, base = cluster.members(), cluster.revision()
                break
            except grpc.RpcError:
                time.sleep(0.25)
        secrets = [(endpoint, f"<endpoint {number}>") for number, endpoint in enumerate(cluster.endpoints, 1)]
        self.normal = Normaliser(base, members, secrets)
        self.base = base
        self.metadata = ()

    # What is recorded.

    def note(self, step, value, ids="lease"):
        """Records plain values under the name of a step."""
        self.steps.append({"step": step, "answer": self.normal.value(value, ids=ids)})

    def record(self, step, answer, ids="lease"):
        """Records an answer or a refusal, and returns it."""
        if isinstance(answer, Fault):
            self.steps.append({"step": step, "error": f"{answer.code}: {self.normal.text(answer.message)}"})
        else:
            self.steps.append({"step": step, "answer": self.normal.value(tree(answer), ids=ids)})
        return answer

    # What is asked.

    def key(self, name=""):
        """A key of this scenario alone."""
        return f"{self.name}/{name}".encode()

    @property
    def everything(self):
        """The range of all keys of this scenario."""
        return {"key": self.key(), "range_end": f"{self.name}0".encode()}

    def ask(self, method, at=0, timeout=10, metadata=None, **fields):
        """Asks without a record."""
        connection = at if isinstance(at, Connection) else self.cluster.connections[at]
        try:
            return connection.call(method, fields, self.metadata if metadata is None else metadata, timeout)
        except grpc.RpcError as error:
            return Fault(error)

    def call(self, step, method, ids="lease", **more):
        return self.record(step, self.ask(method, **more), ids)

    def put(self, name, value=b"", **more):
        """A put that is only a preparation."""
        reply = self.ask("KV/Put", key=self.key(name), value=value, **more)
        assert reply, f"{reply.code}: {reply.message}"
        return reply.header.revision

    def future(self, method, at=0, timeout=30, **fields):
        connection = at if isinstance(at, Connection) else self.cluster.connections[at]
        return connection.future(method, fields, self.metadata, timeout)

    def settle(self, step, future, within=15, ids="lease"):
        """Waits for a call that was begun with `future` and records its end."""
        try:
            return self.record(step, future.result(timeout=within), ids)
        except grpc.FutureTimeoutError:
            self.note(step, "no answer in time")
        except grpc.RpcError as error:
            return self.record(step, Fault(error))

    def stream(self, method, at=0, metadata=None):
        connection = at if isinstance(at, Connection) else self.cluster.connections[at]
        stream = connection.stream(method, self.metadata if metadata is None else metadata)
        self.opened.append(stream.cancel)
        return stream

    def connect(self, index=0):
        connection = self.cluster.connect(index)
        self.opened.append(connection.close)
        return connection

    def catch_up(self, index):
        """Returns when a member has applied all that was written before: headers tell its own revision."""
        self.cluster.connections[index].call("KV/Range", {"key": b"ready"}, timeout=10)

    def received(self, step, stream, timeout=10, ids="lease"):
        """Records the next message of a stream."""
        message = stream.next(timeout)
        if message is None:
            self.note(step, "nothing in time")
        elif message is Stream.END:
            self.ended(step, stream)
        else:
            return self.record(step, message, ids)

    def ended(self, step, stream):
        self.steps.append({"step": step, "error": self.fault(stream)})

    def fault(self, stream):
        if stream.fault is None:
            return "the stream ended well"
        return f"{stream.fault.code().name}: {self.normal.text(stream.fault.details() or '')}"

    def until(self, condition, within=15, pause=0.05):
        """Asks again until something true comes back; the last answer when time is over."""
        deadline = time.monotonic() + within
        while True:
            value = condition()
            if value or time.monotonic() > deadline:
                return value
            time.sleep(pause)

    def close(self):
        for close in reversed(self.opened):
            try:
                close()
            except Exception:  # A stream that is over already has nothing to close.
                pass


class Watching:
    """A watch stream whose events are sorted by watch: how they were batched is not a promise of the protocol."""

    def __init__(self, context, at=0, metadata=None):
        self.context = context
        self.stream = context.stream("Watch/Watch", at, metadata)
        self.events, self.others = {}, []
        self.last_revision = 0

    def pump(self, timeout):
        """Takes one message in; False when none came."""
        message = self.stream.next(timeout)
        if message is None or message is Stream.END:
            return False
        if message.created or message.canceled or not message.events:
            self.others.append(message)
        for event in message.events:
            self.events.setdefault(message.watch_id, []).append(event)
            self.last_revision = max(self.last_revision, event.kv.mod_revision)
        return True

    def other(self, step, timeout=10):
        """Records the next message that is no event."""
        deadline = time.monotonic() + timeout
        while not self.others and time.monotonic() < deadline and self.pump(deadline - time.monotonic()):
            pass
        if not self.others:
            if self.stream.fault or not self.stream.arrived.empty():
                self.context.ended(step, self.stream)
            else:
                self.context.note(step, "nothing in time")
            return None
        return self.context.record(step, self.others.pop(0))

    def create(self, step, **fields):
        self.stream.send(create_request=fields)
        return self.other(step)

    def cancel(self, step, watch_id):
        self.stream.send(cancel_request={"watch_id": watch_id})
        return self.other(step)

    def take(self, step, count, watch_id=0, timeout=10):
        """Records the next `count` events of a watch."""
        deadline = time.monotonic() + timeout
        mine = self.events.setdefault(watch_id, [])
        while len(mine) < count and time.monotonic() < deadline and self.pump(deadline - time.monotonic()):
            pass
        taken, self.events[watch_id] = mine[:count], mine[count:]
        self.context.note(step, [dict({"type": "PUT"}, **tree(event)) for event in taken])
        return taken

    def quiet(self, step, timeout=0.4):
        """Records that nothing else comes."""
        while self.pump(timeout):
            pass
        left = {watch: [tree(event) for event in events] for watch, events in sorted(self.events.items()) if events}
        self.context.note(step, {"events": list(left.values()), "messages": [tree(other) for other in self.others]})
        self.events, self.others = {}, []

    def close(self):
        self.stream.cancel()


def run(cluster, name):
    """One scenario's document."""
    context = Context(cluster, name)
    started = time.monotonic()
    try:
        SCENARIOS[name](context)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        line = next((frame for frame in reversed(where) if "scenario" in frame.filename), where[-1])
        context.steps.append({
            "step": "the scenario stopped",
            "error": context.normal.text(f"{type(error).__name__}: {error} (line {line.lineno}: {line.line})")})
    finally:
        context.close()
    return {"scenario": name, "steps": context.steps}, time.monotonic() - started

"""etcdctl of two versions, as people and scripts call it."""
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import tempfile
import threading
import time

from harness import scenario
from scenarios_auth import turn_off

VERSIONS = ("3.4", "3.5")


class Control:
    def __init__(self, c, version):
        self.c = c
        self.program = c.cluster.tools.get(version)
        assert self.program, f"no etcdctl {version} on this machine"
        self.version = version
        self.environment = {"PATH": os.environ["PATH"], "ETCDCTL_API": "3", "HOME": os.environ.get("HOME", "/")}

    def command(self, words, at=None):
        cluster = self.c.cluster
        endpoints = cluster.endpoints if at is None else [cluster.endpoints[at]]
        return [self.program, "--endpoints", ",".join(endpoints), "--cacert", cluster.ca, "--cert",
                cluster.certificate, "--key", cluster.key, "--dial-timeout", "5s", "--command-timeout", "10s", *words]

    def run(self, *words, at=0, given=None):
        done = subprocess.run(self.command(words, at), input=given, env=self.environment, capture_output=True,
                              text=True, timeout=30, stdin=subprocess.DEVNULL if given is None else None)
        return done.returncode, done.stdout, done.stderr

    def call(self, step, *words, at=0, given=None, ids="lease"):
        """Records exit code and output of one call."""
        code, output, errors = self.run(*words, at=at, given=given)
        self.c.note(step, {"exit": code, "output": self.lines(output, ids), "errors": self.lines(errors, ids)})
        return output

    def lines(self, text, ids="lease"):
        result = []
        for line in text.splitlines():
            if line.startswith('{"level"'):
                continue  # The client's own log.
            try:
                tree = json.loads(line)
            except ValueError:
                tree = None
            result.append(self.c.normal.value(tree, ids=ids) if isinstance(tree, (dict, list)) else self.plain(line))
        return result

    def plain(self, line):
        line = self.c.normal.text(line)
        line = re.sub(r"(?<=took = )[\d.]+(µs|ms|s)\b", "<time>", line)
        line = re.sub(r"(?<=remaining\()\d+(?=s\))", "<time>", line)
        line = re.sub(r"(?<=revision )\d+$", lambda found: self.c.normal.revision(int(found.group())), line)

        def name(found):
            value = int(found.group(), 16)
            members = self.c.normal.members
            return members[value] if value in members else f"<{self.c.normal.lease(value)}>"

        return re.sub(r"\b[0-9a-f]{12,16}\b", name, line)

    def start(self, *words, at=None):
        return Running(self, self.command(words, at))

    def lease(self, output):
        """The identifier in what `lease grant` prints."""
        return re.search(r"lease ([0-9a-f]+)", output).group(1)


class Running:
    """A call that goes on, and the lines it prints."""

    def __init__(self, control, command):
        self.control = control
        self.process = subprocess.Popen(command, env=control.environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        control.c.opened.append(self.kill)

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def take(self, step, count, timeout=15):
        """Records the next lines."""
        deadline, taken = time.monotonic() + timeout, []
        while len(taken) < count:
            try:
                taken.append(self.control.plain(self.lines.get(timeout=max(0.01, deadline - time.monotonic()))))
            except queue.Empty:
                taken.append("nothing in time")
                break
        self.control.c.note(step, taken)

    def silent(self):
        return self.lines.empty()

    def end(self, step, number=signal.SIGTERM, timeout=15):
        """Records how it ends."""
        if number:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = "still there"
        self.control.c.note(step, code)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def for_each_version(name):
    """Registers a scenario for every etcdctl."""

    def register(function):
        for version in VERSIONS:
            scenario(f"etcdctl-{version}.{name}")(lambda c, version=version: function(c, Control(c, version)))
        return function

    return register


@for_each_version("kv")
def kv(c, ctl):
    def key(name):
        return c.key(name).decode()

    ctl.call("put", "put", key("a"), "1")
    ctl.call("put of what it reads", "put", key("b"), given="from input")
    ctl.call("put with the previous pair", "put", key("a"), "2", "--prev-kv")
    ctl.call("put that keeps the value", "put", key("a"), "--ignore-value")
    ctl.call("put that keeps the value of nothing", "put", key("none"), "--ignore-value")
    ctl.call("get", "get", key("a"))
    ctl.call("get of nothing", "get", key("none"))
    ctl.call("get as JSON", "get", key("a"), "-w", "json")
    ctl.call("get by prefix", "get", key(""), "--prefix", at=None)
    ctl.call("keys only", "get", key(""), "--prefix", "--keys-only")
    ctl.call("value only", "get", key("a"), "--print-value-only")
    ctl.call("hexadecimal", "get", key("a"), "--hex")
    ctl.call("in descending order", "get", key(""), "--prefix", "--order", "DESCEND", "--sort-by", "MODIFY",
             "--limit", "1")
    ctl.call("from a key to another", "get", key("a"), key("b"))
    ctl.call("from a key on", "get", key("b"), "--from-key", "--limit", "1")
    ctl.call("at a revision", "get", key("a"), "--rev", str(c.base + 1))
    ctl.call("serializable", "get", key("a"), "--consistency", "s")
    ctl.call("a transaction", "txn", given=f'value("{key("a")}") = "2"\nversion("{key("b")}") > "0"\n\n'
             f'put {key("a")} 3\nget {key("a")}\n\nget {key("b")}\n\n')
    ctl.call("its failure", "txn", given=f'mod("{key("none")}") > "0"\n\nput {key("a")} 4\n\n'
             f'get {key("b")}\ndel {key("b")}\n\n')
    ctl.call("delete with the previous pair", "del", key("a"), "--prev-kv")
    ctl.call("delete of nothing", "del", key("a"))
    ctl.call("delete by prefix", "del", key(""), "--prefix")
    ctl.call("an empty key", "put", "", "1")
    ctl.call("a lease that is not there", "put", key("a"), "1", "--lease", "fade")
    ctl.call("compaction", "compaction", "--physical", str(c.base + 3))
    code, output, errors = ctl.run("get", key("a"), "--rev", str(c.base + 1))
    c.note("a compacted revision", {"exit": code, "errors": ctl.lines(errors)})
    code, output, errors = ctl.run("compaction", str(c.base + 3))
    c.note("twice", {"exit": code, "errors": ctl.lines(errors)})


@for_each_version("watch")
def watch(c, ctl):
    key = c.key("a").decode()
    first = c.put("a", b"0")
    running = ctl.start("watch", key, "--rev", str(first), "--prev-kv", at=0)
    running.take("from a revision", 3)
    c.put("a", b"1")
    running.take("a put", 5)
    c.ask("KV/DeleteRange", key=c.key("a"))
    running.take("a deletion", 4)
    running.end("ended")
    c.ask("KV/Compact", revision=first + 1, physical=True)
    done = ctl.start("watch", key, "--rev", str(first), at=0)
    done.end("from a compacted revision", number=None)
    interactive = ctl.start("watch", "-i", at=0)
    interactive.process.stdin.write(f"watch {key} --rev {first + 1}\nwatch {c.key('b').decode()} --rev {first + 1}\n")
    interactive.process.stdin.flush()
    interactive.take("two at once: the first", 5)
    c.put("b", b"1")
    interactive.take("the second", 3)
    interactive.kill()


@for_each_version("lease")
def lease(c, ctl):
    output = ctl.call("granted", "lease", "grant", "600")
    given = ctl.lease(output)
    ctl.call("put with it", "put", c.key("a").decode(), "1", "--lease", given)
    ctl.call("time to live", "lease", "timetolive", given)
    ctl.call("its keys", "lease", "timetolive", given, "--keys")
    ctl.call("kept alive once", "lease", "keep-alive", given, "--once")
    running = ctl.start("lease", "keep-alive", given, at=0)
    running.take("kept alive", 1)
    code, output, _ = ctl.run("lease", "list")
    c.note("listed", {"exit": code, "there": given in output})
    ctl.call("revoked", "lease", "revoke", given)
    ctl.call("revoked twice", "lease", "revoke", given)
    ctl.call("time to live of none", "lease", "timetolive", given)
    ctl.call("kept alive without being there", "lease", "keep-alive", given, "--once")
    running.kill()


@for_each_version("lock")
def lock(c, ctl):
    name = c.key("m").decode()
    ctl.call("a command under the lock", "lock", name, "echo", "got it")
    ctl.call("its exit code", "lock", name, "--", "sh", "-c", "exit 3")
    holder = ctl.start("lock", name, "--ttl", "5", at=0)
    holder.take("held", 1)
    second = ctl.start("lock", name, "echo", "second", at=0)
    c.until(lambda: count(c, name) == 2)
    c.note("the second waits", second.silent())
    holder.end("let go", signal.SIGINT)
    second.take("the second has it", 1)
    second.end("and ends", number=None)
    if ctl.version == "3.4":
        return  # A lease's end takes seconds; it is the newer one's scenario.
    dying = ctl.start("lock", name, "--ttl", "3", at=0)
    dying.take("held again", 1)
    third = ctl.start("lock", name, "echo", "third", at=-1)
    c.until(lambda: count(c, name) == 2)
    dying.end("killed", signal.SIGKILL)
    third.take("the third has it when the dead one's lease has ended", 1)
    third.end("and ends", number=None)


@for_each_version("elect")
def elect(c, ctl):
    name = c.key("e").decode()
    first = ctl.start("elect", name, "first", at=0)
    first.take("won", 2)
    observer = ctl.start("elect", "-l", name, at=-1)
    observer.take("observed", 2)
    second = ctl.start("elect", name, "second", at=0)
    c.until(lambda: count(c, name) == 2)
    c.note("the second waits", second.silent())
    first.end("resigned", signal.SIGINT)
    second.take("the second has won", 2)
    observer.take("observed", 2)
    second.end("resigned", signal.SIGINT)


def count(c, name):
    reply = c.ask("KV/Range", key=name.encode() + b"/", range_end=name.encode() + b"0", count_only=True)
    return reply.count if reply else 0


@for_each_version("cluster")
def cluster(c, ctl):
    ids = "member"
    code, output, _ = ctl.run("member", "list", at=None)
    c.note("members", {"exit": code, "lines": sorted(
        re.sub(r"https://[^,]*", "<url>", re.sub("^[0-9a-f]+", "<id>", line)) for line in output.splitlines())})
    code, output, _ = ctl.run("member", "list", "-w", "json", at=None)
    document = json.loads(output)
    c.note("members as JSON", {"exit": code, "header": document["header"], "fields": [
        sorted(member) for member in document["members"]]})
    code, output, errors = ctl.run("endpoint", "health", at=None)
    c.note("health", {"exit": code, "lines": sorted(ctl.lines(output) + ctl.lines(errors))})
    code, output, _ = ctl.run("endpoint", "status", "-w", "json", at=None)
    c.note("status", {"exit": code, "endpoints": [
        {"endpoint": entry["Endpoint"], "status": {
            name: value for name, value in entry["Status"].items() if name not in ("leader", "header")}}
        for entry in json.loads(output)]}, ids)
    code, output, _ = ctl.run("endpoint", "hashkv", at=None)
    c.note("hashkv", {"exit": code, "endpoints": [line.split(",")[0] for line in output.splitlines()]})
    ctl.call("alarms", "alarm", "list")
    ctl.call("alarms disarmed", "alarm", "disarm")
    ctl.call("defragmented", "defrag", at=None)
    ctl.call("removal of nobody", "member", "remove", "fade")
    code, output, errors = ctl.run("move-leader", "fade", at=None)
    c.note("a move to nobody", {"exit": code, "refused": bool(errors)})


@for_each_version("snapshot")
def snapshot(c, ctl):
    c.put("a", b"1")
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory, "snapshot.db")
        code, output, errors = ctl.run("snapshot", "save", str(file))
        c.note("saved", {"exit": code, "bytes": file.exists() and file.stat().st_size > 0,
                         "errors": [ctl.plain(line.replace(directory, "<directory>")) for line in errors.splitlines()
                                    if not line.startswith("{")] if code else []})
        code, output, errors = ctl.run("snapshot", "status", str(file), "-w", "json")
        fields = sorted(json.loads(output)) if code == 0 else []
        c.note("read by etcd's own tools", {"exit": code, "fields": fields})


@for_each_version("auth")
def auth(c, ctl):
    inside, outside = c.key("in/a").decode(), c.key("out/a").decode()
    ctl.call("root", "user", "add", "root:rootpw")
    ctl.call("a user", "user", "add", "u1:u1pw")
    ctl.call("the same again", "user", "add", "u1:u1pw")
    ctl.call("a role", "role", "add", "r1")
    ctl.call("a permission", "role", "grant-permission", "r1", "readwrite", c.key("in/").decode(), "--prefix")
    ctl.call("the role", "role", "get", "r1")
    ctl.call("given", "user", "grant-role", "u1", "r1")
    ctl.call("root's", "user", "grant-role", "root", "root")
    ctl.call("the user", "user", "get", "u1")
    try:
        ctl.call("turned on", "auth", "enable")
        ctl.call("inside", "--user", "u1:u1pw", "put", inside, "1")
        ctl.call("read inside", "--user", "u1:u1pw", "get", inside)
        ctl.call("outside", "--user", "u1:u1pw", "put", outside, "1")
        ctl.call("the wrong password", "--user", "u1:no", "get", inside)
        ctl.call("without a user", "get", inside)
        ctl.call("users", "--user", "root:rootpw", "user", "list")
        ctl.call("roles", "--user", "root:rootpw", "role", "list")
        ctl.call("taken back", "--user", "root:rootpw", "user", "revoke-role", "u1", "r1")
        ctl.call("inside now", "--user", "u1:u1pw", "get", inside)
        ctl.call("turned off", "--user", "root:rootpw", "auth", "disable")
    finally:
        turn_off(c)
    ctl.call("the permission goes", "role", "revoke-permission", "r1", c.key("in/").decode(), "--prefix")
    ctl.call("the role goes", "role", "delete", "r1")
    ctl.call("the user goes", "user", "delete", "u1")
    ctl.call("root goes", "user", "delete", "root")
    ctl.call("root's role goes", "role", "delete", "root")

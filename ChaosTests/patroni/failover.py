#!/usr/bin/env python3
"""Patroni keeps a PostgreSQL pair on a cluster that speaks etcd's API, and fails over when the primary is killed.

    failover.py --endpoints 127.0.0.1:7401,127.0.0.1:7411,127.0.0.1:7421 --ca ca.pem --certificate c.pem --key c.key
                [--kill-leader PID,PID,PID]

Needs Patroni (Debian: `patroni`, `python3-etcd`, `python3-idna`), PostgreSQL's programs and, as root, an account `postgres`. Patroni runs
in its etcd3 mode: JSON over HTTP/1.1 with a client certificate.

It starts the pair, writes a row, kills the primary and its Patroni (SIGKILL), waits for the other to take writes, looks
for the row, and lets the old primary come back as a replica. With --kill-leader, the processes of the endpoints in their
order, the cluster's own leader is killed in the same moment. Exit code 0 only when all of that happened.
"""
import argparse
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

TTL, LOOP_WAIT, RETRY_TIMEOUT = 20, 2, 5
PASSWORD = "correct horse"


def say(*words):
    print(f"{time.monotonic() - STARTED:6.1f} s ", *words, flush=True)


STARTED = time.monotonic()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", required=True, help="host:port, separated by commas")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--kill-leader", metavar="PIDS", help="kill the endpoint's process that leads the cluster too")
    parser.add_argument("--account", default="postgres", help="who runs PostgreSQL when this is root")
    return parser.parse_args()


def programs():
    """The newest directory of PostgreSQL's programs."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: -int(path.parts[4]))
    if not found:
        sys.exit("PostgreSQL's programs are not here")
    return found[0].parent


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Store:
    """The cluster that Patroni keeps its truth in."""

    def __init__(self, options):
        self.endpoints = options.endpoints.split(",")
        self.context = ssl.create_default_context(cafile=options.ca)
        self.context.load_cert_chain(options.certificate, options.key)
        self.context.set_alpn_protocols(["http/1.1"])

    def leader(self):
        """The endpoint whose member leads, by its place; None when none does."""
        for place, endpoint in enumerate(self.endpoints):
            connection = http.client.HTTPSConnection(endpoint, timeout=3, context=self.context)
            try:
                connection.request("POST", "/v3/maintenance/status", "{}", {"Content-Type": "application/json"})
                status = json.loads(connection.getresponse().read())
                if status["header"]["member_id"] == status["leader"]:
                    return place
            except (OSError, KeyError, ValueError):
                continue
            finally:
                connection.close()
        return None


class Node:
    """One PostgreSQL under its Patroni."""

    def __init__(self, name, options, directory):
        self.name, self.directory = name, directory
        self.account = options.account if os.getuid() == 0 else None
        self.port, self.rest = free_port(), free_port()
        self.data = directory / name
        self.process = None
        hosts = "".join(f"\n  - {endpoint}" for endpoint in options.endpoints.split(","))
        (directory / f"{name}.yml").write_text(f"""
scope: pair
namespace: /patroni/{directory.name}/
name: {name}
restapi: {{listen: "127.0.0.1:{self.rest}", connect_address: "127.0.0.1:{self.rest}"}}
etcd3:
  protocol: https
  cacert: {directory}/ca.pem
  cert: {directory}/client.pem
  key: {directory}/client.key
  hosts:{hosts}
bootstrap:
  dcs:
    ttl: {TTL}
    loop_wait: {LOOP_WAIT}
    retry_timeout: {RETRY_TIMEOUT}
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: {{shared_buffers: 16MB, max_connections: 20, wal_log_hints: "on"}}
  initdb: [{{encoding: UTF8}}, data-checksums]
  pg_hba:
  - host all all 127.0.0.1/32 md5
  - host replication all 127.0.0.1/32 md5
postgresql:
  listen: 127.0.0.1:{self.port}
  connect_address: 127.0.0.1:{self.port}
  data_dir: {self.data}
  bin_dir: {programs()}
  pgpass: {directory}/{name}.pgpass
  authentication:
    superuser: {{username: postgres, password: {PASSWORD}}}
    replication: {{username: replicator, password: {PASSWORD}}}
    rewind: {{username: rewinder, password: {PASSWORD}}}
  parameters: {{unix_socket_directories: "{directory}"}}
""")

    def start(self):
        command = ["patroni", str(self.directory / f"{self.name}.yml")]
        if self.account:
            command = ["setpriv", f"--reuid={self.account}", f"--regid={self.account}", "--init-groups", *command]
        log = open(self.directory / f"{self.name}.log", "ab")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
            env={"PATH": os.environ["PATH"].replace("/.pyenv/shims", "/none"), "HOME": str(self.directory)})
        log.close()

    def postmaster(self):
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return None

    def kill(self):
        """SIGKILL for Patroni and for PostgreSQL's first process, whose children then end."""
        server = self.postmaster()
        self.process.kill()
        if server:
            try:
                os.kill(server, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()

    def state(self):
        """What Patroni says of its PostgreSQL."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest, timeout=2)
        try:
            connection.request("GET", "/patroni")
            return json.loads(connection.getresponse().read())
        except (OSError, ValueError):
            return {}
        finally:
            connection.close()

    def leads(self):
        state = self.state()
        return state.get("state") == "running" and state.get("role") in ("master", "primary")

    def follows(self):
        state = self.state()
        return state.get("state") in ("running", "streaming") and state.get("role") == "replica"

    def sql(self, text):
        """Runs a statement and returns what it prints; None when it fails."""
        done = subprocess.run(
            [programs() / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-AtX", "-c", text],
            env={"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "2", "LC_ALL": "C"},
            capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None


def until(what, condition, limit=180):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    sys.exit(f"waited {limit} s in vain for {what}")


def demonstrate(options, store, first, second):
    first.start()
    until("the first to lead", first.leads)
    say(f"{first.name} leads")
    second.start()
    until("the second to follow", lambda: second.follows() and first.sql(
        "select count(*) from pg_stat_replication where sync_state = 'sync'") == "1")
    say(f"{second.name} follows, synchronously")
    first.sql("create table kept (value text)")
    if first.sql("insert into kept values ('before') returning value") is None:
        sys.exit("the primary takes no row")
    say("a row is written")
    leader = store.leader()
    killed = time.monotonic()
    if options.kill_leader:
        pids = [int(pid) for pid in options.kill_leader.split(",")]
        if leader is None:
            sys.exit("the cluster has no leader to kill")
        os.kill(pids[leader], signal.SIGKILL)
        say(f"the cluster's leader, {store.endpoints[leader]}, is killed")
    first.kill()
    say(f"{first.name} is killed")
    until("the other to take writes", lambda: second.leads() and second.sql(
        "insert into kept values ('after') returning value") is not None)
    window = time.monotonic() - killed
    say(f"{second.name} takes writes, {window:.1f} s after the kill (a lost leader is noticed after up to {TTL} s)")
    rows = second.sql("select string_agg(value, ',' order by value desc) from kept")
    if rows != "before,after":
        sys.exit(f"the rows are {rows}")
    say("the row is there")
    first.start()
    until("the old primary to follow", first.follows)
    until("its rows", lambda: first.sql("select count(*) from kept") == "2")
    say(f"{first.name} is back, and follows")
    if options.kill_leader:
        say(f"the cluster is led by {store.endpoints[until('a leader', lambda: [store.leader()])[0]]}")


def main():
    options = arguments()
    store = Store(options)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="esper-patroni-"))
    directory.chmod(0o755)
    for source, name in ((options.ca, "ca.pem"), (options.certificate, "client.pem"), (options.key, "client.key")):
        shutil.copy(source, directory / name)
    nodes = [Node(name, options, directory) for name in ("one", "two")]
    if os.getuid() == 0:
        for path in [directory, *directory.iterdir()]:
            shutil.chown(path, options.account, options.account)
    done = False
    try:
        demonstrate(options, store, *nodes)
        done = True
        say("done")
    finally:
        for node in nodes:
            if node.process and node.process.poll() is None:
                node.kill()
        if done:
            shutil.rmtree(directory)
        else:
            print(f"what they said is in {directory}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Clients of other people in Python, each in a process of its own: their generated code does not get along."""
import json
import os
import pathlib
import subprocess
import sys

from harness import scenario

HERE = pathlib.Path(__file__).parent


def drive(c, script, **environment):
    cluster = c.cluster
    done = subprocess.run(
        [sys.executable, HERE / script, cluster.host, ",".join(map(str, cluster.ports)), cluster.ca,
         cluster.certificate, cluster.key, f"{c.name}/"],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    for step, value in json.loads(done.stdout or "[]"):
        c.note(step, value)
    if done.returncode:
        c.note("the script stopped", done.stderr.strip().splitlines()[-1:])


@scenario("python.etcd3")
def etcd3(c):
    drive(c, "client_etcd3.py", PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="python")


@scenario("python.aetcd")
def aetcd(c):
    drive(c, "client_aetcd.py")

#!/usr/bin/env python3
"""torchrun's agents meet by a cluster that speaks etcd's API, lose a worker, and meet again.

    rendezvous.py --endpoint 127.0.0.1:7401 --ca ca.pem --certificate c.pem --key c.key [--backend etcd-v2|etcd]

Needs torch with its `distributed` package and python-etcd in this Python (Debian: `python3-torch`, `python3-etcd`, `python3-idna`,
and /usr/bin/python3). The rendezvous speaks etcd's old API, `/v2`, over HTTP/1.1 with a client certificate.

Two agents with one worker each sum up their ranks; then the second worker dies, both agents find out by the rendezvous, meet
again and sum up once more. Exit code 0 only when all of that happened. Says that it was skipped, with exit code 77, where torch is
not installed.
"""
import argparse
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import uuid

SKIPPED = 77
AGENTS = 2
LIMIT_SECONDS = 300

WORKER = """
import datetime, os, sys
import torch
import torch.distributed as dist

dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
rank, size = dist.get_rank(), dist.get_world_size()
total = torch.tensor([float(rank + 1)])
dist.all_reduce(total)
restarts = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
print(f"worker {rank} of {size} restart {restarts} sum {int(total.item())}", flush=True)
if restarts == 0 and rank == size - 1:
    os._exit(3)
dist.barrier()
print(f"worker {rank} done", flush=True)
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", required=True, help="host:port")
    parser.add_argument("--ca")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--backend", default="etcd-v2", choices=["etcd-v2", "etcd"])
    return parser.parse_args()


def settings(options):
    """The two backends name their settings differently."""
    if not options.ca:
        return "protocol=http"
    names = ("ca_cert", "ssl_cert", "ssl_cert_key") if options.backend == "etcd-v2" else ("cacert", "cert", "key")
    files = (options.ca, options.certificate, options.key)
    return ",".join(["protocol=https"] + [f"{name}={file}" for name, file in zip(names, files)])


def begin(options, run, script, log):
    command = [
        sys.executable, "-m", "torch.distributed.run", f"--nnodes={AGENTS}", "--nproc_per_node=1", "--max_restarts=2",
        f"--rdzv_backend={options.backend}", f"--rdzv_endpoint={options.endpoint}", f"--rdzv_id={run}",
        f"--rdzv_conf={settings(options)},last_call_timeout=2,join_timeout=60", "--monitor_interval=1",
        # torch 1.13 cannot read its own defaults of these under Python 3.11.
        "--redirects=2", "--tee=2", str(script)]
    # Whatever the host is called: the agents and their workers are all here.
    environment = dict(os.environ, GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1")
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)


def main():
    options = arguments()
    missing = [name for name in ("torch", "etcd") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"skipped: {' and '.join(missing)} not installed")
        sys.exit(SKIPPED)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        script = pathlib.Path(directory, "worker.py")
        script.write_text(WORKER)
        logs = [pathlib.Path(directory, f"agent-{number}.log") for number in range(AGENTS)]
        run = uuid.uuid4().hex
        agents = [begin(options, run, script, log.open("wb")) for log in logs]
        codes = []
        try:
            for agent in agents:
                codes.append(agent.wait(timeout=max(1, LIMIT_SECONDS - (time.monotonic() - started))))
        except subprocess.TimeoutExpired:
            codes.append("still running")
        finally:
            for agent in agents:
                if agent.poll() is None:
                    agent.kill()
                    agent.wait()
        said = [log.read_text() for log in logs]
    lines = [line for text in said for line in text.splitlines() if line.startswith("worker ")]
    for line in sorted(lines):
        print(line)
    total = sum(range(1, AGENTS + 1))
    first = [f"worker {rank} of {AGENTS} restart 0 sum {total}" for rank in range(AGENTS)]
    # Each agent counts its own restarts; one of a changed membership is none of them.
    again = sum(f"of {AGENTS} restart" in line and f"sum {total}" in line for line in lines) - len(first)
    done = sum(line.endswith(" done") for line in lines)
    ok = codes == [0] * AGENTS and all(line in lines for line in first) and again >= 1 and done == AGENTS
    print(f"{'ok' if ok else 'failed'}: {options.backend}, agents ended with {codes}, met again {again > 0}, "
          f"{time.monotonic() - started:.1f} s")
    if not ok:
        for text in said:
            print("-" * 40, text[-6000:], sep="\n")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()

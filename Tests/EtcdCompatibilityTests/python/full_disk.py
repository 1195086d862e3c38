"""What clients of etcd are told while a member's disk is full: the leader's first, then another's.

Directories of the members are small file systems, in the order of the ports. Prints a line for each answer.
"""
import argparse
import pathlib
import subprocess

import harness
import suite

VALUE = bytes(48 << 10)


class Disk:
    def __init__(self, directory):
        self.ballast = pathlib.Path(directory) / "ballast"

    def fill(self):
        with open(self.ballast, "wb", buffering=0) as file:
            try:
                while file.write(bytes(64 << 10)):
                    pass
            except OSError:
                pass

    def free(self):
        self.ballast.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("protos", "ports", "ca", "certificate", "key", "directories"):
        parser.add_argument(f"--{option}", required=True)
    options = parser.parse_args()
    ports = [int(port) for port in options.ports.split(",")]
    cluster = harness.Cluster("127.0.0.1", ports, options.ca, options.certificate, options.key, options.protos)
    cluster.wait_until_ready()
    c = harness.Context(cluster, "full")
    disks = [Disk(directory) for directory in options.directories.split(",")]
    ids = [c.ask("Maintenance/Status", at=at).header.member_id for at in range(len(ports))]
    leader = ids.index(c.ask("Maintenance/Status").leader)
    print("before:", alarms(c, ids), etcdctl(options, ports, ids, "list"))

    disks[leader].fill()
    refused = c.until(lambda: fault(put(c)), within=60)
    print("a put:", refused)
    print("told by every member:", c.until(lambda: all(alarms(c, ids, at) for at in range(len(ports))), within=30))
    mine = [name(ids, leader, "NOSPACE")]
    print("the leader's alone:", all(alarms(c, ids, at) == mine for at in range(len(ports))))
    print("as status:", [text.split(":")[-1].strip() for text in c.ask("Maintenance/Status", at=leader).errors])
    print("of another kind:", len(c.ask("Maintenance/Alarm", alarm="CORRUPT").alarms))
    print("a transaction:", fault(c.ask("KV/Txn", success=[{"request_put": {"key": b"t", "value": b"1"}}])))
    print("a lease:", fault(c.ask("Lease/LeaseGrant", ID=8101, TTL=60)))
    print("reads go on:", bool(c.ask("KV/Range", key=c.key("large"))))
    print("etcdctl alarm list:", etcdctl(options, ports, ids, "list") == mine)
    print("etcdctl alarm disarm:", etcdctl(options, ports, ids, "disarm") == mine)
    print("it is there as long as it is true:", alarms(c, ids) == mine)
    disks[leader].free()
    print("with space again:", bool(c.until(lambda: put(c), within=30)))
    print("no alarm:", c.until(lambda: not any(alarms(c, ids, at) for at in range(len(ports))), within=30),
          etcdctl(options, ports, ids, "list"))

    other = (leader + 1) % len(ports)
    disks[other].fill()
    told = c.until(lambda: bool(put(c, leader)) and alarms(c, ids, leader), within=60)
    print("another member's:", told == [name(ids, other, "NOSPACE")])
    # Asked of another: what is full cannot answer for what it has not taken.
    print("puts go on:", c.until(lambda: bool(put(c, leader)), within=30) or fault(put(c, leader)))
    disks[other].free()
    print("no alarm:", c.until(lambda: not any(alarms(c, ids, at) for at in range(len(ports))), within=30))
    c.close()


def put(c, at=0):
    return c.ask("KV/Put", at=at, key=c.key("large"), value=VALUE)


def fault(reply):
    return None if reply else f"{reply.code}: {reply.message}"


def name(ids, at, kind):
    return f"member {at + 1} {kind}"


def alarms(c, ids, at=0):
    reply = c.ask("Maintenance/Alarm", at=at)
    if not reply:
        return [fault(reply)]
    return [name(ids, ids.index(alarm.memberID), "NOSPACE" if alarm.alarm == 1 else str(alarm.alarm))
            for alarm in reply.alarms]


def etcdctl(options, ports, ids, action):
    """The lines that it prints, members by number."""
    program = suite.tools([])["3.4"]
    done = subprocess.run(
        [program, f"--endpoints=127.0.0.1:{ports[0]}", f"--cacert={options.ca}", f"--cert={options.certificate}",
         f"--key={options.key}", "alarm", action], env={"ETCDCTL_API": "3"}, capture_output=True, text=True, timeout=30)
    lines = (done.stdout + done.stderr).split("\n")
    for at, member in enumerate(ids):
        lines = [line.replace(f"memberID:{member} alarm:", name(ids, at, "")).strip() for line in lines]
    return [line for line in lines if line]


if __name__ == "__main__":
    main()

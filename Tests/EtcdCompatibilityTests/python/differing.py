"""What clients of etcd are told where the states of two members differ: each says it of the other."""
import argparse

import harness


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("protos", "ports", "ca", "certificate", "key"):
        parser.add_argument(f"--{option}", required=True)
    options = parser.parse_args()
    ports = [int(port) for port in options.ports.split(",")]
    cluster = harness.Cluster("127.0.0.1", ports, options.ca, options.certificate, options.key, options.protos)
    cluster.wait_until_ready()
    c = harness.Context(cluster, "differing")
    ids = [c.ask("Maintenance/Status", at=at).header.member_id for at in range(len(ports))]
    for number in range(100):
        c.put(f"{number}", b"1")
    for at in range(len(ports)):
        told = c.until(lambda: c.ask("Maintenance/Alarm", at=at).alarms, within=30)
        kinds = [(ids.index(alarm.memberID) + 1, alarm.alarm) for alarm in told]
        status = [text.split(":")[-1].strip() for text in c.ask("Maintenance/Status", at=at).errors]
        print(f"member {at + 1}: {kinds} {status}")
    c.close()


if __name__ == "__main__":
    main()

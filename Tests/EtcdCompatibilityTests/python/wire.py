"""etcd's services as our own .proto files describe them, called through grpcio.

The messages live in a pool of their own, so that they never meet those that other clients bring along.
"""
import pathlib
import queue
import tempfile
import threading

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

LIMITS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


class Method:
    def __init__(self, service, proto, request, response):
        self.path = f"/{service}/{proto.name}"
        self.request, self.response = request, response
        self.takes_stream, self.gives_stream = proto.client_streaming, proto.server_streaming


class Protocol:
    """Methods by short name (`KV/Put`) and messages by full name."""

    def __init__(self, directory):
        from grpc_tools import protoc

        directory = pathlib.Path(directory)
        with tempfile.NamedTemporaryFile(suffix=".pb") as file:
            sources = [str(path.relative_to(directory)) for path in sorted(directory.rglob("*.proto"))]
            arguments = ["protoc", f"-I{directory}", f"--descriptor_set_out={file.name}", "--include_imports"]
            assert protoc.main(arguments + sources) == 0, "the .proto files do not compile"
            files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(file.name).read_bytes())
        self.pool = descriptor_pool.DescriptorPool()
        for proto in files.file:
            self.pool.Add(proto)
        self.methods = {}
        for proto in files.file:
            for service in proto.service:
                for method in service.method:
                    self.methods[f"{service.name}/{method.name}"] = Method(
                        f"{proto.package}.{service.name}", method,
                        self.message(method.input_type[1:]), self.message(method.output_type[1:]))

    def message(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))


class Connection:
    """One channel to one endpoint."""

    def __init__(self, protocol, address, credentials):
        self.protocol = protocol
        # A pool of its own: channels of the same target would share one connection otherwise.
        self.channel = grpc.secure_channel(
            address, credentials, options=LIMITS + [("grpc.use_local_subchannel_pool", 1)])

    def call(self, method, fields, metadata=(), timeout=10):
        description = self.protocol.methods[method]
        kind = self.channel.unary_stream if description.gives_stream else self.channel.unary_unary
        invoke = kind(description.path, request_serializer=description.request.SerializeToString,
                      response_deserializer=description.response.FromString)
        return invoke(description.request(**fields), timeout=timeout, metadata=metadata)

    def future(self, method, fields, metadata=(), timeout=30):
        description = self.protocol.methods[method]
        invoke = self.channel.unary_unary(
            description.path, request_serializer=description.request.SerializeToString,
            response_deserializer=description.response.FromString)
        return invoke.future(description.request(**fields), timeout=timeout, metadata=metadata)

    def stream(self, method, metadata=(), timeout=60):
        return Stream(self, self.protocol.methods[method], metadata, timeout)

    def close(self):
        self.channel.close()


class Stream:
    """A stream both ways: what arrives is kept until somebody asks for it."""

    END = object()

    def __init__(self, connection, method, metadata, timeout):
        self.method = method
        self.requests, self.arrived = queue.Queue(), queue.Queue()
        invoke = connection.channel.stream_stream(
            method.path, request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString)
        self.responses = invoke(iter(self.requests.get, self.END), timeout=timeout, metadata=metadata)
        self.fault = None
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for response in self.responses:
                self.arrived.put(response)
        except grpc.RpcError as error:
            self.fault = error
        self.arrived.put(self.END)

    def send(self, **fields):
        self.requests.put(self.method.request(**fields))

    def next(self, timeout=10):
        """The next message; None when none comes in time; `END` when the stream is over."""
        try:
            return self.arrived.get(timeout=timeout)
        except queue.Empty:
            return None

    def finish(self):
        """Says that nothing more will be asked."""
        self.requests.put(self.END)

    def cancel(self):
        self.requests.put(self.END)
        self.responses.cancel()

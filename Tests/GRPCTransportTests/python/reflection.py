"""Asks our server what it looks like, with grpcio's own reflection client. Called as esper_stubs.py says."""
import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from esper_stubs import *


with channel() as connection:
    database = ProtoReflectionDescriptorDatabase(connection)
    services = list(database.get_services())
    assert "esper.v1.KV" in services and "grpc.health.v1.Health" in services, services
    assert "grpc.reflection.v1.ServerReflection" in services and services == sorted(services), services
    claim("services")

    pool = descriptor_pool.DescriptorPool(database)
    for name in services:
        for method in pool.FindServiceByName(name).methods:
            assert method.input_type.full_name and method.output_type.full_name
    request = message_factory.GetMessageClass(pool.FindMessageTypeByName("esper.v1.PutRequest"))(key=b"a", value=b"7")
    answer = message_factory.GetMessageClass(pool.FindMessageTypeByName("esper.v1.PutResponse"))
    put = connection.unary_unary("/esper.v1.KV/Put", request_serializer=type(request).SerializeToString,
                                 response_deserializer=answer.FromString)
    assert put(request, timeout=10).commit.revision > 0
    claim("a call without stubs")

    assert pool.FindFileByName("esper/v1/kv.proto").package == "esper.v1"
    assert pool.FindMethodByName("esper.v1.KV.Put").name == "Put"
    assert pool.FindEnumTypeByName("esper.v1.Outcome").values_by_name["OUTCOME_COMMITTED"]
    for missing in (lambda: pool.FindFileByName("nope.proto"), lambda: pool.FindMessageTypeByName("esper.v1.Nope")):
        try:
            missing()
            raise AssertionError("found what is not there")
        except KeyError:
            pass
    claim("files and symbols")

    Request = reflection_pb2.ServerReflectionRequest
    questions = [Request(host="h", list_services=""), Request(file_containing_symbol="esper.v1.KV"),
                 Request(file_by_filename="none"),
                 Request(file_containing_extension=reflection_pb2.ExtensionRequest(
                     containing_type="esper.v1.PutRequest", extension_number=7)),
                 Request(all_extension_numbers_of_type="esper.v1.PutRequest"),
                 Request(all_extension_numbers_of_type="esper.v1.Nope")]
    for version in ("v1", "v1alpha"):
        info = connection.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                        request_serializer=Request.SerializeToString,
                                        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
        answers = list(info(iter(questions), timeout=10))
        assert [answer.original_request for answer in answers] == questions
        assert [answer.WhichOneof("message_response") for answer in answers] == [
            "list_services_response", "file_descriptor_response", "error_response", "error_response",
            "all_extension_numbers_response", "error_response"]
        assert answers[0].valid_host == "h"
        assert answers[2].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
        assert len(answers[1].file_descriptor_response.file_descriptor_proto) >= 2, "with what it imports"
        assert answers[4].all_extension_numbers_response.base_type_name == "esper.v1.PutRequest"
        raw = connection.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        for nonsense in (b"", b"\x00", b"\x0a\x05a", b"\xff" * 30, b"\x2a\x02\x0a\x05"):
            refused(lambda: list(raw(iter([nonsense]), timeout=10)), grpc.StatusCode.INVALID_ARGUMENT)
    claim("both versions")

print("done")

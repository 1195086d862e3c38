"""Drives our server with grpcio; prints one line for each claim. Called as esper_stubs.py says."""
import threading

import grpc

from esper_stubs import *


with channel() as connection:
    store = kv_grpc.KVStub(connection)
    put = store.Put(kv.PutRequest(key=b"a", value=b"1"), timeout=10)
    assert put.commit.outcome == common.OUTCOME_COMMITTED and put.commit.revision > 0
    got = store.Get(kv.GetRequest(key=b"a"), timeout=10)
    assert got.kv.value == b"1" and got.kv.key == b"a"
    assert not store.Get(kv.GetRequest(key=b"none"), timeout=10).HasField("kv")
    claim("unary")

    for size in (0, 1, 16_383, 16_384, 65_536, 3_000_000):
        value = bytes(index * 31 & 255 for index in range(min(size, 4096))) * (size // 4096 + 1)
        store.Put(kv.PutRequest(key=b"big", value=value[:size]), timeout=20)
        assert store.Get(kv.GetRequest(key=b"big"), timeout=20).kv.value == value[:size], size
    claim("large")

    futures = [store.Put.future(kv.PutRequest(key=b"k%d" % n, value=b"v%d" % n), timeout=20) for n in range(2000)]
    assert all(future.result().commit.outcome == common.OUTCOME_COMMITTED for future in futures)
    claim("many at once")

    error = refused(lambda: store.Put(kv.PutRequest(key=b"too", value=bytes(5 << 20)), timeout=20),
                    grpc.StatusCode.RESOURCE_EXHAUSTED)
    claim("message limit")

    error = refused(lambda: store.Delete(kv.DeleteRequest(), timeout=10), grpc.StatusCode.FAILED_PRECONDITION)
    assert error.details() == "100 % né", error.details()
    trailers = dict(error.trailing_metadata())
    detail = common.ErrorDetail.FromString(trailers["esper-error-bin"])
    assert detail.code == "on_purpose" and detail.outcome == common.OUTCOME_NOT_COMMITTED
    claim("error detail")

    reply, call = store.Compact.with_call(kv.CompactRequest(), timeout=10, metadata=(
        ("tenant", "blue"), ("trace-bin", b"\x00\xff\x01")))
    assert dict(call.trailing_metadata()) == {}, call.trailing_metadata()
    assert reply.commit.revision == 2, "two pairs of metadata should have arrived"
    claim("metadata")

    refused(lambda: store.Range(kv.RangeRequest(), timeout=0.1), grpc.StatusCode.DEADLINE_EXCEEDED)
    claim("deadline")

    pending = store.Range.future(kv.RangeRequest(), timeout=20)
    pending.cancel()
    assert pending.cancelled()
    claim("cancel")

    refused(lambda: connection.unary_unary("/esper.v1.KV/Nope")(b"", timeout=10), grpc.StatusCode.UNIMPLEMENTED)
    refused(lambda: connection.unary_unary("/esper.v2.KV/Put")(b"", timeout=10), grpc.StatusCode.UNIMPLEMENTED)
    claim("unknown method")

    events = list(watch_grpc.WatchStub(connection).Watch(watch.WatchRequest(from_revision=5000), timeout=30))
    assert [event.revision for event in events] == list(range(5000)), len(events)
    claim("server stream")

    stream = watch_grpc.WatchStub(connection).Watch(watch.WatchRequest(from_revision=1 << 40), timeout=30)
    assert [next(stream).revision for _ in range(10)] == list(range(10))
    stream.cancel()
    claim("server stream cancelled")

    chat = connection.stream_stream("/test.Echo/chat")
    assert list(chat((b"x" * n for n in (1, 70_000, 0, 5)), timeout=20)) == [b"x" * n for n in (1, 70_000, 0, 5)]
    claim("bidirectional stream")

    check = connection.unary_unary("/grpc.health.v1.Health/Check",
                                   request_serializer=health.HealthCheckRequest.SerializeToString,
                                   response_deserializer=health.HealthCheckResponse.FromString)
    assert check(health.HealthCheckRequest(), timeout=10).status == health.HealthCheckResponse.SERVING
    refused(lambda: check(health.HealthCheckRequest(service="nobody"), timeout=10), grpc.StatusCode.NOT_FOUND)
    observe = connection.unary_stream("/grpc.health.v1.Health/Watch",
                                      request_serializer=health.HealthCheckRequest.SerializeToString,
                                      response_deserializer=health.HealthCheckResponse.FromString)
    told = observe(health.HealthCheckRequest(service="nobody"), timeout=10)
    assert next(told).status == health.HealthCheckResponse.SERVICE_UNKNOWN
    told.cancel()
    claim("health")

with channel(compression=grpc.Compression.Gzip) as connection:
    store = kv_grpc.KVStub(connection)
    for size in (0, 10, 1000, 70_000, 4_000_000):
        value = bytes(index * 31 & 255 for index in range(size))
        assert store.Put(kv.PutRequest(key=b"packed", value=value), timeout=10).commit.revision > 0
        assert store.Get(kv.GetRequest(key=b"packed"), timeout=10).kv.value == value, size
    chat = connection.stream_stream("/test.Echo/chat")
    sizes = (1, 70_000, 0, 3_000_000, 3_000_000, 5)
    assert list(chat((b"x" * n for n in sizes), timeout=20)) == [b"x" * n for n in sizes]
    refused(lambda: store.Put(kv.PutRequest(key=b"bomb", value=bytes(5 << 20)), timeout=20),
            grpc.StatusCode.RESOURCE_EXHAUSTED)
    claim("gzip")

with channel(compression=grpc.Compression.Deflate) as connection:
    refused(lambda: kv_grpc.KVStub(connection).Put(kv.PutRequest(key=b"a" * 1000), timeout=10),
            grpc.StatusCode.UNIMPLEMENTED)
    claim("other compression refused")

with channel() as connection:
    threads = [threading.Thread(target=lambda: [kv_grpc.KVStub(connection).Get(kv.GetRequest(key=b"a"), timeout=20)
                                                for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claim("threads")

with grpc.secure_channel(f"127.0.0.1:{ports[0]}", grpc.ssl_channel_credentials(authority)) as connection:
    refused(lambda: kv_grpc.KVStub(connection).Get(kv.GetRequest(key=b"a"), timeout=10), grpc.StatusCode.UNAVAILABLE)
    claim("no certificate")

print("done")

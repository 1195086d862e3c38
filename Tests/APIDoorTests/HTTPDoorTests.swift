import APIDoor
import Dispatch
import Foundation
import Identity
import NIOCore
import NIOPosix
import NIOSSL
import Observability
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(2)))
struct HTTPDoorTests {
    @Test func `a put is committed and read back`() async throws {
        try await TestDoor.run { (door) async throws in
            let put = try await door.post("/v1/kv/put", #"{"key":"greeting","value":"hello"}"#)
            #expect(put.status == 200)
            #expect(try put.text("outcome") == "committed")
            let get = try await door.get("/v1/kv/get?key=greeting")
            #expect(try get.text("kv", "value") == "hello")
            #expect(try get.number("revision") == put.number("revision"))
        }
    }

    @Test func `bytes that are no text travel as base64 both ways`() async throws {
        try await TestDoor.run { (door) async throws in
            _ = try await door.post("/v1/kv/put", #"{"key":"k","value_base64":"/wA="}"#)
            let get = try await door.get("/v1/kv/get?key_base64=aw%3D%3D")
            #expect(try get.text("kv", "value_base64") == "/wA=")
            #expect(try get.text("kv", "key") == "k")
        }
    }

    @Test(arguments: [
        (#"{"key":"a","value":"b","colour":"red"}"#, "unknown field 'colour'"),
        (#"{"key":1,"value":"b"}"#, "'key' must be text, not a number"),
        (#"{"value":"b"}"#, "the field 'key' is missing"),
        (#"{"key":"a","key_base64":"YQ==","value":"b"}"#, "not both"),
        (#"{"key":"a","value_base64":"*"}"#, "'value_base64' is not valid base64"),
        (#"{"key":"a","#, "the body is not JSON"),
        (#"{"key":"a","value":"b","request_id":{"client":1}}"#, "unknown field 'request_id.client'"),
    ])
    func `a wrong body is refused by name`(_ body: String, _ message: String) async throws {
        try await TestDoor.run { (door) async throws in
            let answer = try await door.post("/v1/kv/put", body)
            #expect(answer.status == 400)
            #expect(try answer.text("error", "message")?.contains(message) == true)
            #expect(try answer.text("error", "outcome") == "not_committed")
        }
    }

    @Test func `statuses fit the reasons`() async throws {
        try await TestDoor.run({ $0.maximumBodyBytes = 1024 }) { (door) async throws in
            #expect(try await door.get("/v1/nothing").status == 404)
            #expect(try await door.get("/v1/kv/put").status == 405)
            #expect(try await door.get("/v1/kv/get?key=a&timeout=soon").status == 400)
            #expect(try await door.post("/v1/sessions/revoke", #"{"session_id":99}"#).status == 404)
            let long = String(repeating: "x", count: 2000)
            #expect(try await door.post("/v1/kv/put", #"{"key":"a","value":"\#(long)"}"#).status == 413)
        }
    }

    @Test func `a repeated request id gets the first answer`() async throws {
        try await TestDoor.run { (door) async throws in
            let client = try #require(try await door.post("/v1/clients/register", "").number("client_id"))
            let body = #"{"key":"n","value":"1","request_id":{"client_id":\#(client),"sequence":1}}"#
            let first = try await door.post("/v1/kv/put", body)
            let second = try await door.post("/v1/kv/put", body)
            #expect(first.status == 200)
            #expect(first.body == second.body)
        }
    }

    @Test func `a lock is granted with a token and refused to others`() async throws {
        try await TestDoor.run { (door) async throws in
            let first = try #require(
                try await door.post("/v1/sessions/grant", #"{"ttl_ms":60000}"#).number("session_id"))
            let second = try #require(
                try await door.post("/v1/sessions/grant", #"{"ttl_ms":60000}"#).number("session_id"))
            let granted = try await door.post("/v1/locks/acquire", #"{"name":"l","session_id":\#(first)}"#)
            #expect(try granted.json("granted") as? Bool == true)
            #expect(try granted.number("fencing_token") ?? 0 > 0)
            let waited = try await door.post(
                "/v1/locks/acquire", #"{"name":"l","session_id":\#(second),"wait_ms":2000}"#)
            #expect(waited.status == 200)
            #expect(try waited.json("granted") as? Bool == false)
            #expect(try waited.text("outcome") == "not_committed")
            let list = try await door.get("/v1/locks")
            #expect(list.body.contains(#""holder_session_id":\#(first)"#))
            let alive = try await door.post("/v1/sessions/keep-alive", #"{"session_ids":[\#(first),999999]}"#)
            #expect(alive.body.contains(#""alive":true"#) && alive.body.contains(#""alive":false"#))
        }
    }

    @Test func `a watch streams changes and resumes behind the last event`() async throws {
        try await TestDoor.run { (door) async throws in
            let client = try await door.connect(try door.clientTLS())
            client.send("GET /v1/watch?prefix=a HTTP/1.1\r\nHost: test\r\n\r\n")
            _ = try await client.received(containing: ": \n\n")
            let one = try #require(try await door.post("/v1/kv/put", #"{"key":"a1","value":"x"}"#).number("revision"))
            let two = try #require(try await door.post("/v1/kv/put", #"{"key":"a2","value":"y"}"#).number("revision"))
            _ = try await client.received(containing: "id: \(one)\nevent: change")
            _ = try await client.received(containing: "id: \(two)\nevent: change")
            client.close()
            let resumed = try await door.connect(try door.clientTLS())
            resumed.send("GET /v1/watch?prefix=a HTTP/1.1\r\nHost: test\r\nLast-Event-ID: \(one)\r\n\r\n")
            let text = try await resumed.received(containing: "id: \(two)\n")
            #expect(!text.contains("id: \(one)\n"))
            resumed.close()
        }
    }

    @Test func `an election is observed from its present leader on`() async throws {
        try await TestDoor.run { (door) async throws in
            let session = try #require(
                try await door.post("/v1/sessions/grant", #"{"ttl_ms":60000}"#).number("session_id"))
            let client = try await door.connect(try door.clientTLS())
            client.send("GET /v1/elections/observe?name=e HTTP/1.1\r\nHost: test\r\n\r\n")
            _ = try await client.received(containing: #""leadership":null"#)
            _ = try await door.post("/v1/elections/campaign", #"{"name":"e","session_id":\#(session),"value":"me"}"#)
            _ = try await client.received(containing: #""value":"me""#)
            client.close()
        }
    }

    @Test func `ready tells a degraded component and fails for a failing one`() async throws {
        try await TestDoor.run { (door) async throws in
            let catalog = door.health.component("catalog")
            #expect(try await door.get("/ready").status == 503)
            catalog.degraded("not reachable")
            let degraded = try await door.get("/ready")
            #expect(degraded.status == 200)
            #expect(degraded.body.contains("catalog: not reachable"))
            #expect(try await door.get("/health").status == 200)
            #expect(try await door.get("/metrics").body.contains("esper_metrics_series"))
        }
    }

    @Test func `health fails while the core loop hangs, and says so, and passes again`() async throws {
        try await TestDoor.run({ $0.coreSilence = .seconds(1) }) { (door) async throws in
            #expect(try await door.get("/health").status == 200)
            let stall = DispatchSemaphore(value: 0)
            door.coreGroup.any().execute { stall.wait() }
            defer { stall.signal() }
            try await until("a failing health") { try await door.get("/health").status == 503 }
            let answer = try await door.get("/health")
            #expect(answer.body.contains("the core loop does not answer"))
            #expect(try answer.json("alive") as? Bool == false)
            let ready = try await door.get("/ready")
            #expect(ready.status == 503)
            #expect(ready.body.contains("core: the core loop does not answer"))
            stall.signal()
            try await until("health") { try await door.get("/health").status == 200 }
        }
    }

    @Test func `every served route is described, and every described one is served`() async throws {
        try await TestDoor.run { (door) async throws in
            let document = try await door.get("/openapi.json")
            let paths = try #require(try document.json("paths") as? [String: [String: Any]])
            let described = paths.flatMap { path, operations in operations.keys.map { "\($0.uppercased()) \(path)" } }
            #expect(Set(described) == Set(HTTPDoor.servedRoutes))
            for path in paths.keys { #expect(try await door.request("PATCH", path).status == 405, "\(path)") }
        }
    }
}

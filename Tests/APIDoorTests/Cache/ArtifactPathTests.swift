import APIDoor
import CacheCore
import Foundation
import KernelCache
import Synchronization
import TestSupport
import Testing

/// Artifacts as plain bodies over HTTP.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct ArtifactPathTests {
    @Test func `a body is stored, found, found unchanged and deleted`() async throws {
        try await TestDoor.run { (door) async throws in
            let path = "/v1/cache/artifacts/ccache/ab/cdef%20g"
            #expect(try await door.get(path).status == 404)
            let stored = try await door.request("PUT", path + "?kind=alias&cost_ms=12&ttl_ms=60000", body: "one")
            #expect(stored.status == 201)
            #expect(try stored.text("binding", "kind") == "alias")
            let tag = try #require(stored.field("ETag"))
            #expect(tag == "\"\(try #require(door.cache.binding("default/ccache/ab/cdef g")).manifest)\"")

            let found = try await door.get(path)
            #expect(found.status == 200)
            #expect(found.body == "one")
            #expect(found.field("ETag") == tag)
            #expect(found.field("Esper-Tier") == "memory")
            let again = try await door.connect(try door.clientTLS())
            again.send("GET \(path) HTTP/1.1\r\nHost: test\r\nIf-None-Match: \(tag)\r\n\r\n")
            #expect(try await again.received(containing: "\r\n\r\n").hasPrefix("HTTP/1.1 304"))
            again.close()
            let client = try await door.connect(try door.clientTLS())
            client.send("HEAD \(path) HTTP/1.1\r\nHost: test\r\n\r\n")
            let head = try await client.received(containing: "\r\n\r\n")
            #expect(head.hasPrefix("HTTP/1.1 200"))
            #expect(head.lowercased().contains("content-length: 3"))
            #expect(head.hasSuffix("\r\n\r\n"))
            client.close()

            // Conditions.
            #expect(try await door.request("PUT", path, body: "x", headers: "If-None-Match: *\r\n").status == 412)
            #expect(
                try await door.request("PUT", path + "?kind=alias", body: "two", headers: "If-Match: \(tag)\r\n").status
                    == 201)
            let stale = try await door.request("PUT", path + "?kind=alias", body: "3", headers: "If-Match: \(tag)\r\n")
            #expect(stale.status == 412)
            #expect(try stale.text("error", "outcome") == "not_committed")
            #expect(try await door.request("DELETE", path, headers: "If-Match: \(tag)\r\n").status == 412)
            #expect(try await door.get(path).body == "two")
            #expect(try await door.request("DELETE", path).status == 200)
            #expect(try await door.request("DELETE", path).status == 404)
        }
    }

    @Test func `large bodies stream both ways, with a length or in chunks`() async throws {
        try await TestDoor.run { (door) async throws in
            let text = String(repeating: "0123456789abcdef", count: 2 << 16)
            #expect(try await door.request("PUT", "/v1/cache/artifacts/large", body: text).status == 201)
            #expect(door.cache.adds == 2)
            let found = try await door.get("/v1/cache/artifacts/large")
            #expect(found.body == text)

            let client = try await door.connect(try door.clientTLS())
            client.send(
                "PUT /v1/cache/artifacts/chunks HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n"
                    + "Expect: 100-continue\r\n\r\n")
            _ = try await client.received(containing: "100 Continue")
            client.send("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            _ = try await client.received(containing: "HTTP/1.1 201")
            client.close()
            #expect(try await door.get("/v1/cache/artifacts/chunks").body == "abcde")
        }
    }

    @Test func `bazel's layout keeps its promise: content has the name that it is under`() async throws {
        try await TestDoor.run { (door) async throws in
            let digest = MemoryCache.digest([UInt8]("hello".utf8))
            let cas = "/v1/cache/bazel/cas/\(digest)"
            #expect(try await door.request("PUT", cas, body: "hello").status == 201)
            #expect(try await door.get(cas).body == "hello")
            let wrong = try await door.request("PUT", cas, body: "hellO")
            #expect(wrong.status == 400)
            #expect(try wrong.text("error", "message")?.contains("SHA-256") == true)
            let action = "/v1/cache/bazel/ac/\(digest)"
            #expect(try await door.request("PUT", action, body: "1").status == 201)
            #expect(try await door.request("PUT", action, body: "2").status == 201)
            #expect(try await door.get(action).body == "2")
            for path in ["/v1/cache/bazel/cas/abc", "/v1/cache/bazel/x/\(digest)", "/v1/cache/bazel/cas/\(digest)/a"] {
                #expect(try await door.get(path).status == 404)
            }
        }
    }

    @Test func `nonsense is refused in words`() async throws {
        try await TestDoor.run { (door) async throws in
            let rows: [(method: String, target: String, headers: String, status: Int)] = [
                ("PUT", "a?mode=eternal", "", 400), ("PUT", "a?kind=thing", "", 400), ("PUT", "a?cost_ms=-1", "", 400),
                ("PUT", "a?nonsense=1", "", 400), ("PUT", "a?timeout=soon", "", 400), ("GET", "a?nonsense=1", "", 400),
                ("GET", "a?tenant=x%2Fy", "", 400), ("GET", "", "", 404), ("GET", "%zz", "", 404),
                ("PUT", String(repeating: "x", count: 1100), "", 400), ("POST", "a", "", 405),
                ("PUT", "a", "If-None-Match: \"x\"\r\n", 400), ("PUT", "a", "If-Match: \"x\"\r\n", 412),
            ]
            for row in rows {
                let answer = try await door.request(
                    row.method, "/v1/cache/artifacts/" + row.target, headers: row.headers)
                #expect(answer.status == row.status, "\(row.method) \(row.target): \(answer.body)")
                #expect(try answer.text("error", "outcome") == "not_committed")
            }
            let client = try await door.connect(try door.clientTLS())
            client.send(
                "PUT /v1/cache/artifacts/huge HTTP/1.1\r\nHost: test\r\nContent-Length: 9000000000\r\n"
                    + "Expect: 100-continue\r\n\r\n")
            let answer = try await client.answer()
            #expect(answer.status == 413)
            client.close()
        }
    }

    @Test func `of several files one must be named`() async throws {
        try await TestDoor.run { (door) async throws in
            let stored = try await door.post(
                "/v1/cache/store",
                #"{"name":"two","files":[{"name":"a","content":"A"},{"name":"b/c","content":"C"}]}"#)
            #expect(stored.status == 200)
            #expect(try await door.get("/v1/cache/artifacts/two").status == 409)
            #expect(try await door.get("/v1/cache/artifacts/two?file=b/c").body == "C")
            #expect(try await door.get("/v1/cache/artifacts/two?file=none").status == 404)
        }
    }

    @Test func `a client that takes nothing for too long is let go`() async throws {
        try await TestDoor.run({ $0.idleTimeout = .milliseconds(300) }) { (door) async throws in
            door.cache.plant("default/big", blob: [UInt8](repeating: 65, count: CacheLimits.blobBytes), times: 64)
            let client = try await door.connect(try door.clientTLS())
            client.send("GET /v1/cache/artifacts/big HTTP/1.1\r\nHost: test\r\n\r\n")
            _ = try await client.received(containing: "HTTP/1.1 200")
            try await client.stopReading()
            #expect(door.httpDoor.openTransfers == 1)
            try await until("the transfer to end", within: .seconds(10)) { door.httpDoor.openTransfers == 0 }
            client.close()
        }
    }

    @Test func `a transfer that fails midway ends short, not with other bytes`() async throws {
        try await TestDoor.run { (door) async throws in
            door.cache.plant("default/broken", blob: [UInt8](repeating: 65, count: CacheLimits.blobBytes), times: 3)
            door.cache.onBlob.withLock {
                $0 = { number throws(CacheFailure) in
                    if number == 3 { throw CacheFailure(.bytesLost, "gone") }
                }
            }
            let client = try await door.connect(try door.clientTLS())
            client.send("GET /v1/cache/artifacts/broken HTTP/1.1\r\nHost: test\r\n\r\n")
            let all = await client.closed()
            #expect(all.lowercased().contains("content-length: \(3 << 20)"))
            #expect(all.utf8.count < 3 << 20)
        }
    }
}

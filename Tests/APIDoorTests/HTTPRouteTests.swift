import APIDoor
import Foundation
import NIOSSL
import TestSupport
import Testing

/// Every route under `/v1`: a request that is answered and one that is refused, both judged by `/openapi.json`.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct HTTPRouteTests {
    struct Request {
        var target: String
        var body: String

        init(_ target: String, _ body: String = "") { (self.target, self.body) = (target, body) }
    }

    struct Row {
        var route: String
        var good: Request
        /// Must stand in the answer.
        var says: [String]
        var bad: Request
        var status: Int
        var code: String
        var isStream = false

        init(
            _ route: String, _ good: Request, says: [String], bad: Request, _ status: Int = 400,
            _ code: String = "invalid_argument", isStream: Bool = false
        ) {
            (self.route, self.good, self.says, self.bad) = (route, good, says, bad)
            (self.status, self.code, self.isStream) = (status, code, isStream)
        }

        var method: String { String(route.prefix { $0 != " " }) }
        var path: String { String(route.drop { $0 != " " }.dropFirst()) }

        /// A POST to the route's own path.
        static func post(
            _ path: String, _ good: String, says: [String], bad: String, _ status: Int = 400,
            _ code: String = "invalid_argument"
        ) -> Row {
            Row("POST \(path)", Request(path, good), says: says, bad: Request(path, bad), status, code)
        }

        /// A GET with a query.
        static func get(
            _ path: String, _ good: String, says: [String], bad: String, _ status: Int = 400,
            _ code: String = "invalid_argument", isStream: Bool = false
        ) -> Row {
            Row(
                "GET \(path)", Request("\(path)?\(good)"), says: says, bad: Request("\(path)?\(bad)"), status, code,
                isStream: isStream)
        }
    }

    /// In an order in which each finds what it needs: session 1 holds `held` and leads `led`, 2 waits for nothing, 3 is doomed.
    private static func rows(_ sessions: [Int]) -> [Row] {
        let (holder, other, doomed) = (sessions[0], sessions[1], sessions[2])
        let digest = String(repeating: "0a", count: 32)
        return [
            .post(
                "/v1/kv/put", #"{"key":"k","value_base64":"/wA=","session_id":\#(holder),"want_previous":true}"#,
                says: [#""outcome":"committed""#, #""previous":null"#], bad: #"{"key":"","value":"v"}"#),
            .post(
                "/v1/kv/put", #"{"key":"k","value":"v","want_previous":true}"#, says: [#""value_base64":"/wA=""#],
                bad: #"{"key":"_lock/a","value":"v"}"#, 403, "reserved_key"),
            .get("/v1/kv/get", "key=k&consistency=local", says: [#""value":"v""#], bad: "key=k&consistency=old"),
            .get(
                "/v1/kv/get", "key=none", says: [#""kv":null"#], bad: "key=k&revision=99999999", 400, "future_revision"),
            .get(
                "/v1/kv/range", "prefix=k&limit=1&descending=true", says: [#""count":1"#, #""more":false"#],
                bad: "prefix=k&key=k"),
            .post(
                "/v1/kv/txn",
                #"""
                {"compares":[{"key":"k","target":"value","relation":"equal","value":"v"}],"success":[
                 {"put":{"key":"t","value":"1","want_previous":true}},{"range":{"prefix":""}},
                 {"delete":{"key":"k","want_previous":true}}],"failure":[{"range":{"key":"k"}}]}
                """#, says: [#""succeeded":true"#, #""deleted":1"#], bad: #"{"success":[{}]}"#),
            .post(
                "/v1/kv/delete", #"{"start":"t","end":"u","want_previous":true}"#, says: [#""deleted":1"#], bad: "{}"),
            .post(
                "/v1/kv/compact", #"{"revision":2}"#, says: [#""outcome":"committed""#], bad: #"{"revision":99999999}"#,
                400, "future_revision"),
            .get("/v1/kv/get", "key=k", says: [], bad: "key=k&revision=1", 410, "compacted"),
            .post(
                "/v1/sessions/grant", #"{"ttl_ms":60000,"label":"night run"}"#, says: [#""ttl_ms":60000"#],
                bad: #"{"ttl_ms":99}"#),
            .post(
                "/v1/sessions/grant", #"{"ttl_ms":86400000}"#, says: [], bad: #"{"ttl_ms":18446744073709551615}"#),
            .post(
                "/v1/sessions/keep-alive", #"{"session_ids":[\#(holder),99999999]}"#,
                says: [#""alive":true"#, #""alive":false"#], bad: #"{"session_ids":[]}"#),
            .get(
                "/v1/sessions", "limit=1", says: [#""label":"holder""#, #""next_page_token":"0"#], bad: "page_token=%21"
            ),
            .get(
                "/v1/sessions", "limit=5000", says: [#""label":"night run""#, #""next_page_token":"""#], bad: "more=1"),
            .post(
                "/v1/sessions/revoke", #"{"session_id":\#(doomed)}"#, says: [#""deleted":0"#],
                bad: #"{"session_id":\#(doomed)}"#, 404, "session_not_found"),
            .post(
                "/v1/locks/acquire", #"{"name":"held","session_id":\#(holder)}"#, says: [#""granted":true"#],
                bad: #"{"name":"","session_id":\#(holder)}"#),
            .post(
                "/v1/locks/acquire", #"{"name":"held","session_id":\#(other),"wait_ms":20}"#,
                says: [#""granted":false"#, #""outcome":"not_committed""#, #""holder_session_id":\#(holder)"#],
                bad: #"{"name":"held","session_id":99999999}"#, 404, "session_not_found"),
            .get("/v1/locks", "prefix=h&limit=1", says: [#""name":"held""#, #""waiting":0"#], bad: "limit=-1"),
            .post(
                "/v1/locks/release", #"{"name":"held","session_id":\#(holder)}"#, says: [#""released":true"#],
                bad: #"{"name":"held","session_id":\#(other)}"#, 404, "lock_not_found"),
            .post(
                "/v1/elections/campaign", #"{"name":"led","session_id":\#(holder),"value":"me"}"#,
                says: [#""elected":true"#], bad: #"{"name":"led"}"#),
            .post(
                "/v1/elections/campaign", #"{"name":"led","session_id":\#(other),"value":"you"}"#,
                says: [#""elected":false"#, #""fencing_token":0"#], bad: #"{"name":1,"session_id":1}"#),
            .post(
                "/v1/elections/proclaim", #"{"name":"led","session_id":\#(holder),"value":"new"}"#,
                says: [#""outcome":"committed""#], bad: #"{"name":"led","session_id":\#(other),"value":"x"}"#, 404,
                "candidate_not_found"),
            .get("/v1/elections/leader", "name=led", says: [#""value":"new""#], bad: "name="),
            .get("/v1/elections/leader", "name=nobody", says: [#""leadership":null"#], bad: ""),
            .get("/v1/elections/observe", "name=led", says: [#""value":"new""#], bad: "", isStream: true),
            .post(
                "/v1/elections/resign", #"{"name":"led","session_id":\#(holder)}"#, says: [#""resigned":true"#],
                bad: #"{"name":"led","session_id":\#(holder)}"#, 404, "candidate_not_found"),
            .get(
                "/v1/watch", "prefix=&from_revision=3&want_previous=true", says: [#""kind":"put""#],
                bad: "from_revision=2",
                isStream: true),
            .get(
                "/v1/cluster/status", "", says: [#""leader":"n1""#, #""catalog":"disabled""#], bad: "verbose=1"),
            .post(
                "/v1/cluster/transfer", #"{"target":"n1"}"#, says: [#""leader":"n1""#], bad: #"{"target":"n9"}"#, 409,
                "transfer_failed"),
            .post(
                "/v1/cluster/tokens/create",
                #"{"id":"00000000000000a7","secret_sha256":"\#(digest)","node":"n7","ttl_ms":60000}"#,
                says: [#""expires_unix_ms":"#],
                bad: #"{"id":"00000000000000a8","secret_sha256":"\#(digest)","uses":0,"ttl_ms":60000}"#),
            .post(
                "/v1/cluster/tokens/create",
                #"{"id":"00000000000000a7","secret_sha256":"\#(digest)","node":"n7","ttl_ms":60000}"#, says: [],
                bad: #"{"id":"a7","secret_sha256":"\#(digest)","ttl_ms":60000}"#),
            .get(
                "/v1/cluster/tokens", "", says: [#""node":"n7","uses":1"#, #""revoked":false,"used_by":[]"#],
                bad: "secret=1"),
            .post(
                "/v1/cluster/tokens/revoke", #"{"id":"00000000000000a7"}"#, says: [#""outcome":"committed""#],
                bad: #"{"id":"00000000000000a8"}"#, 404, "unknown_token"),
            .post("/v1/clients/register", "", says: [#""client_id":"#], bad: #"{"label":"me"}"#),
        ] + membership
    }

    /// `n2` is added, a node that never runs: it can be no voter, and is taken out again.
    private static var membership: [Row] {
        func change(_ verb: String, _ good: String, id: Int, bad: String, _ status: Int, _ code: String) -> Row {
            .post(
                "/v1/cluster/members/\(verb)", good,
                says: [#""outcome":"committed""#, #""ids":["000000000000000\#(id)"]"#], bad: bad, status, code)
        }
        return [
            change(
                "add", #"{"name":"n2","peer":"127.0.0.1:9","api":"127.0.0.1:10"}"#, id: 2,
                bad: #"{"name":"n3","peer":"127.0.0.1:9","api":"127.0.0.1:11"}"#, 409, "member_exists"),
            change("promote", #"{"names":["n1"]}"#, id: 1, bad: #"{"names":["n2"]}"#, 409, "not_heard"),
            change("demote", #"{"names":["n2"]}"#, id: 2, bad: #"{"names":["n1"]}"#, 409, "change_refused"),
            change("remove", #"{"names":["n2"]}"#, id: 2, bad: #"{"names":["n1"]}"#, 409, "change_refused"),
            .post(
                "/v1/cluster/members/drain", #"{"name":"n1","undo":true}"#, says: ["{}"], bad: #"{"name":"n9"}"#, 400,
                "unknown_member"),
        ]
    }

    /// In order too.
    private static let cacheRows: [Row] = [
        .post(
            "/v1/cache/store",
            #"{"name":"k","files":[{"name":"a.cubin","content":"A"},{"name":"b/c.json","content_base64":"/wA="}],"cost_ms":7}"#,
            says: [#""outcome":"committed""#, #""stored":true"#, #""cost_ms":7"#, #""size":3"#],
            bad: #"{"name":"k","files":[{"name":"../x","content":"A"}]}"#, 400, "invalid"),
        .post(
            "/v1/cache/retrieve", #"{"name":"k"}"#,
            says: [#""result":"found""#, #""content_base64":"/wA=""#, #""name":"b/c.json""#],
            bad: #"{"name":"k","files":["none"]}"#),
        .post(
            "/v1/cache/retrieve", #"{"name":"none","tenant":"other"}"#, says: [#""result":"absent""#],
            bad: #"{"name":"k","tenant":"a/b"}"#, 400, "invalid"),
        .post(
            "/v1/cache/list", #"{"prefix":"","limit":5}"#, says: [#""name":"k""#, #""more":false"#],
            bad: #"{"prefix":1}"#),
        .post(
            "/v1/cache/stat", #"{"name":"k"}"#, says: [#""node":"memory""#, #""kind":"action""#],
            bad: #"{"name":""}"#, 400, "invalid"),
        .post(
            "/v1/cache/warm", #"{"names":["k","none"]}"#, says: [#""artifacts":1"#, #""missing":1"#],
            bad: #"{"top":1,"names":["k"]}"#),
        .post("/v1/cache/sync", #"{"shard":7,"dry_run":true}"#, says: [#""shards":1"#], bad: #"{"shard":1024}"#),
        .post(
            "/v1/cache/rebalance", #"{"action":"throttle","bytes_per_second":70000}"#,
            says: [#""maximum_bytes_per_second":70000"#, #""shard":7"#, #""bytes_per_second":null"#],
            bad: #"{"action":"plan","maximum_incoming":1}"#),
        .get(
            "/v1/cache/map", "", says: [#""name":"memory""#, #""owned":1024"#, #""members":["memory"]"#], bad: "shard=1"
        ),
        .post(
            "/v1/cache/evict", #"{"name":"k"}"#, says: [#""outcome":"committed""#, #""size":3"#],
            bad: #"{"name":"k","copy":true,"tier":"redis"}"#),
    ]

    @Test func `every route answers as openapi says, and refuses as it says`() async throws {
        try await TestDoor.run { (door) async throws in
            let description = try OpenAPIDocument(try await door.get("/openapi.json").body)
            var sessions: [Int] = []
            for label in ["holder", "other", "doomed"] {
                let granted = try await door.post("/v1/sessions/grant", #"{"ttl_ms":600000,"label":"\#(label)"}"#)
                sessions.append(try #require(try granted.number("session_id")))
            }
            let rows = Self.rows(sessions) + Self.cacheRows
            // One node cannot hand its vote on: that is tried with real clusters.
            let expected = HTTPDoor.servedRoutes.filter { $0.contains(" /v1/") && !$0.hasSuffix("/members/replace") }
            #expect(Set(rows.map(\.route)) == Set(expected))
            for row in rows {
                if row.isStream {
                    let data = try await firstEvent(row, door)
                    for text in row.says { #expect(data.contains(text), "\(row.route): \(data)") }
                    let problems = description.problems(
                        with: data, to: row.method, row.path, status: 200, contentType: "text/event-stream")
                    #expect(problems == [])
                } else {
                    let answer = try await door.request(row.method, row.good.target, body: row.good.body)
                    #expect(answer.status == 200, "\(row.route): \(answer.body)")
                    for text in row.says { #expect(answer.body.contains(text), "\(row.route): \(answer.body)") }
                    let problems = description.problems(
                        with: answer.body, to: row.method, row.path, status: answer.status)
                    #expect(problems == [])
                }
                let refused = try await door.request(row.method, row.bad.target, body: row.bad.body)
                #expect(refused.status == row.status, "\(row.route): \(refused.body)")
                #expect(try refused.text("error", "code") == row.code, "\(row.route): \(refused.body)")
                #expect(try refused.text("error", "outcome") == "not_committed", "\(row.route)")
                let problems = description.problems(
                    with: refused.body, to: row.method, row.path, status: refused.status)
                #expect(problems == [])
            }
        }
    }

    /// The data of a stream's first event.
    private func firstEvent(_ row: Row, _ door: TestDoor) async throws -> String {
        let client = try await door.connect(try door.clientTLS())
        client.send("\(row.method) \(row.good.target) HTTP/1.1\r\nHost: test\r\n\r\n")
        defer { client.close() }
        _ = try await client.received(containing: "\ndata: ")
        let text = try await client.received(containing: "}\n\n")
        let lines = text.split(separator: "\n").map(String.init)
        return String(try #require(lines.first { $0.hasPrefix("data: ") }).dropFirst(6))
    }

    @Test func `the judge of answers sees what is missing, undeclared, of a wrong kind or no choice`() throws {
        let description = try OpenAPIDocument(
            #"""
            {"paths":{"/a":{"get":{"responses":{"200":{"content":{"application/json":{"schema":{"type":"object",
             "additionalProperties":false,"required":["n"],"properties":{"n":{"type":"integer","minimum":0},
             "c":{"type":"string","enum":["x"]},"o":{"oneOf":[{"type":"string"},{"type":"null"}]},
             "l":{"type":"array","items":{"type":"boolean"}}}}}}}}}}}}
            """#)
        func problems(_ answer: String) -> Int {
            description.problems(with: answer, to: "GET", "/a", status: 200).count
        }
        #expect(problems(#"{"n":1,"c":"x","o":null,"l":[true]}"#) == 0)
        for wrong in [
            "{}", #"{"n":-1}"#, #"{"n":1.5}"#, #"{"n":true}"#, #"{"n":1,"z":1}"#, #"{"n":1,"c":"y"}"#,
            #"{"n":1,"o":2}"#, #"{"n":1,"l":[1]}"#, "[]", "{",
        ] {
            #expect(problems(wrong) > 0, "\(wrong)")
        }
    }
}

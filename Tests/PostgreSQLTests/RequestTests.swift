import PostgreSQL
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct RequestTests {
    @Test func `values come back as they were sent`() async throws {
        try await withPrivatePostgreSQL { server in
            try await withClient(server.socketSettings) { client in
                let text = "quote ' backslash \\ newline \n emoji 🦊 \u{7f} and $1; DROP TABLE x"
                let bytes = (0...255).map { UInt8($0) }
                let row = try await client.query(
                    Statement(
                        """
                        SELECT $1 AS t, $2 AS b, $3 AS i, $4 AS f, $5 AS y, $6 AS at, $7::text AS n, $8 AS j,
                               $9::bigint[] = ARRAY[1,-2]::bigint[] AS ia, $10::text[] = ARRAY['a','','ä']::text[] AS ta,
                               cardinality($11::text[]) AS none, ''::text AS empty
                        """,
                        [
                            .text(text), .bytes(bytes), .int64(.min), .double(-0.1), .bool(true),
                            .timestamp(nanosecondsSince1970: 1_795_406_706_789_012_345), .null, .json(#"{"a":[1]}"#),
                            .int64s([1, -2]), .texts(["a", "", "ä"]), .texts([]),
                        ])
                ).only()
                #expect(try row.text("t") == text)
                #expect(try row.bytes("b") == bytes)
                #expect(try row.int64("i") == .min)
                #expect(try row.double("f") == -0.1)
                #expect(try row.bool("y"))
                #expect(try row.microsecondsSince1970("at") == 1_795_406_706_789_012)
                #expect(try row.isNull("n"))
                #expect(try row.text("j") == #"{"a": [1]}"#)
                #expect(try row.bool("ia") && row.bool("ta"))
                #expect(try row.int64("none") == 0)
                #expect(try row.text("empty").isEmpty)
                #expect(throws: PostgreSQLError.self) { try row.text("n") }
                #expect(throws: PostgreSQLError.self) { try row.int64("absent") }
            }
        }
    }

    @Test func `what can never be stored is refused before anything is sent`() async throws {
        // No server at all: nothing is sent.
        let client = PostgreSQLClient(
            settings: PostgreSQLSettings(hosts: ["/nowhere"], database: "x", user: "x"), logger: silent, seed: 1)
        for statement in [
            Statement("SELECT $1", [.text("a\0b")]), Statement("SELECT $1", [.texts(["a", "\0"])]),
            Statement("SELECT 1\0; DROP TABLE x"), Statement("  commit"), Statement(";\nBEGIN"),
            Statement("SELECT 1", Array(repeating: .null, count: 65_536)),
            Statement("SELECT $1", [.bytes([UInt8](repeating: 0, count: 17 << 20))]),
        ] {
            let error = await failure { try await client.query(statement) }
            #expect(error?.kind == .invalidRequest)
            #expect(error?.outcome == .notCommitted)
        }
    }

    @Test func `a bad row fails alone and its neighbours are stored once`() async throws {
        try await withPrivatePostgreSQL { server in
            var settings = server.socketSettings
            settings.connections = 1
            try await withClient(settings) { client in
                _ = try await client.query(Statement("CREATE TABLE numbers (n bigint PRIMARY KEY CHECK (n % 10 <> 3))"))
                let results = await withTaskGroup(of: (Int, PostgreSQLError?).self) { group in
                    for number in 0..<500 {
                        group.addTask {
                            let insert = Statement("INSERT INTO numbers VALUES ($1)", [.int64(Int64(number))])
                            return (number, await failure { try await client.query(insert) })
                        }
                    }
                    return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
                }
                for number in 0..<500 {
                    #expect(results[number]?.sqlState == (number % 10 == 3 ? "23514" : nil))
                }
                let count = try await client.query(Statement("SELECT count(*) AS n FROM numbers")).only().int64("n")
                #expect(count == 450)
            }
        }
    }

    @Test func `statements of one request are all stored or none`() async throws {
        try await withPrivatePostgreSQL { server in
            try await withClient(server.socketSettings) { client in
                _ = try await client.query(Statement("CREATE TABLE pairs (n bigint PRIMARY KEY)"))
                let insert = Statement("INSERT INTO pairs VALUES ($1)", [.int64(1)])
                let error = await failure { try await client.execute([insert, insert]) }
                #expect(error?.sqlState == "23505")
                #expect(error?.constraint == "pairs_pkey")
                #expect(error?.isRetryable == false)
                #expect(try await client.query(Statement("SELECT 1 FROM pairs")).count == 0)
                _ = try await client.execute([insert, Statement("INSERT INTO pairs VALUES (2)")])
                #expect(try await client.query(Statement("SELECT 1 FROM pairs")).count == 2)
            }
        }
    }

    @Test func `a syntax error, a changed table and a deferred constraint hurt nobody else`() async throws {
        try await withPrivatePostgreSQL { server in
            var settings = server.socketSettings
            settings.connections = 1
            try await withClient(settings) { client in
                _ = try await client.execute([
                    Statement("CREATE TABLE a (n bigint PRIMARY KEY)"),
                    Statement("CREATE TABLE b (n bigint REFERENCES a DEFERRABLE INITIALLY DEFERRED)"),
                ])
                async let syntax = failure { try await client.query(Statement("SELEC 1")) }
                async let deferred = failure { try await client.query(Statement("INSERT INTO b VALUES (7)")) }
                async let good = client.query(Statement("INSERT INTO a VALUES (1)"))
                #expect(await syntax?.sqlState == "42601")
                #expect(await deferred?.sqlState == "23503")
                #expect(try await good.affected == 1)
                let select = Statement("SELECT * FROM a")
                #expect(try await client.query(select).columns.count == 1)
                _ = try await client.query(Statement("ALTER TABLE a ADD COLUMN extra text"))
                #expect(try await client.query(select).columns.count == 2)
            }
        }
    }

    @Test func `requests of many tasks share round trips`() async throws {
        try await withPrivatePostgreSQL { server in
            try await withClient(server.socketSettings) { client in
                _ = try await client.query(Statement("CREATE TABLE many (n bigint, t text)"))
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for task in 0..<64 {
                        group.addTask {
                            for number in 0..<50 {
                                _ = try await client.query(
                                    Statement(
                                        "INSERT INTO many VALUES ($1, $2)",
                                        [.int64(Int64(task * 50 + number)), .text("x")]))
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                let row = try await client.query(
                    Statement("SELECT count(DISTINCT n) AS n, count(DISTINCT xmin::text) AS commits FROM many")
                ).only()
                #expect(try row.int64("n") == 3200)
                #expect(try row.int64("commits") < 1600)
            }
        }
    }

    @Test func `one request more than fit is refused as overloaded`() async throws {
        var settings = PostgreSQLSettings(hosts: ["/nowhere"], database: "x", user: "x")
        settings.maximumRequests = 3
        // Not started: requests stay in the queue.
        let client = PostgreSQLClient(settings: settings, logger: silent, seed: 1)
        let tasks = (0..<3).map { _ in
            Task { await failure { try await client.query(Statement("SELECT 1")) } }
        }
        await until { client.status.requests == 3 }
        #expect(await failure { try await client.query(Statement("SELECT 1")) }?.kind == .overloaded)
        await client.shutdown()
        for task in tasks { #expect(await task.value?.kind == .shuttingDown) }
        #expect(await failure { try await client.query(Statement("SELECT 1")) }?.kind == .shuttingDown)
    }
}

import NIOCore
import Redis
import TestSupport
import Testing

// Serialized: each starts servers, and all at once they would wait for one another.
@Suite(.timeLimit(.minutes(2)), .serialized) struct RedisClientTests {
    @Test func `answers come in the order of the commands, with errors in their places`() async throws {
        try await withPrivateRedis { server in
            try await withClient(server.settings) { client in
                let commands = (0..<1000).flatMap { number in
                    [
                        .set(bytes("k\(number)"), bytes("\(number)")), .get(bytes("k\(number)")),
                        RedisCommand("NONSENSE"),
                    ]
                }
                let replies = try await client.send(commands, within: ample)
                #expect(replies.count == 3000)
                for number in 0..<1000 {
                    #expect(replies[3 * number] == .status("OK"))
                    #expect(replies[3 * number + 1] == .bytes(bytes("\(number)")))
                    guard case .error(let error) = replies[3 * number + 2] else {
                        Issue.record("no error at \(number)")
                        continue
                    }
                    #expect(error.code == "ERR" && error.kind == .server)
                }
            }
        }
    }

    @Test func `large and binary keys and values come back as they went`() async throws {
        try await withPrivateRedis { server in
            try await withClient(server.settings) { client in
                let key = (0...255).map { UInt8($0) }
                for size in [0, 1, 16_383, 16_384, 65_537, 1 << 20, 5 << 20] {
                    var value = [UInt8](repeating: 0x2a, count: size)
                    for place in stride(from: 0, to: size, by: 1021) { value[place] = UInt8(place % 256) }
                    _ = try await client.send(.set(key, value), within: ample)
                    #expect(try await client.send(.get(key), within: ample) == .bytes(value))
                }
                let values = try await client.values(of: [key, bytes("absent"), key], within: ample)
                #expect(values[0] == values[2] && values[0] != .null && values[1] == .null)
            }
        }
    }

    @Test func `a value that is there is not replaced when absence is asked for`() async throws {
        try await withPrivateRedis { server in
            try await withClient(server.settings) { client in
                let replies = try await client.send(
                    [.setIfAbsent(bytes("k"), bytes("1")), .setIfAbsent(bytes("k"), bytes("2")), .get(bytes("k"))],
                    within: ample)
                #expect(replies == [.status("OK"), .null, .bytes(bytes("1"))])
            }
        }
    }

    @Test func `passwords and users are told, and refused in words without them`() async throws {
        var options = PrivateRedis.Options()
        options.password = "right horse"
        options.lines = ["user reader on >battery ~* +get +ping"]
        try await withPrivateRedis(options) { server in
            let place = "@127.0.0.1:\(server.port)"
            for good in ["redis://:right%20horse\(place)/2", "redis://reader:battery\(place)"] {
                try await withClient(try RedisSettings(url: good)) { client in
                    let reply = try await client.send(.get(bytes("k")), within: ample)
                    #expect(reply == .null)
                }
            }
            for (bad, code) in [
                ("redis://:wrong-horse\(place)", "WRONGPASS"), ("redis://nobody:wrong-horse\(place)", "WRONGPASS"),
                ("redis://127.0.0.1:\(server.port)", "NOAUTH"),
            ] {
                let error = try await withClient(try RedisSettings(url: bad)) { client in
                    await failure { () throws(RedisError) in try await client.send(.get(bytes("k")), within: ample) }
                }
                #expect(error?.code == code, "\(String(describing: error))")
                #expect(error?.message.contains("horse") == false)
            }
            try await withClient(try RedisSettings(url: "redis://reader:battery\(place)")) { client in
                let error = await failure { () throws(RedisError) in
                    try await client.send(.set(bytes("k"), []), within: ample)
                }
                #expect(error?.code == "NOPERM")
            }
        }
    }

    @Test func `the server's list of clients shows our name and database`() async throws {
        try await withPrivateRedis { server in
            try await withClient(try RedisSettings(url: "redis://127.0.0.1:\(server.port)/5")) { client in
                _ = try await client.send(.ping, within: ample)
                #expect(try await server.cli("CLIENT", "LIST").contains("name=esper"))
                #expect(try await server.cli("CLIENT", "LIST").contains("db=5"))
            }
        }
    }

    @Test func `TLS is verified, and another authority or plaintext is one clear error`() async throws {
        var options = PrivateRedis.Options()
        options.hasTLS = true
        try await withPrivateRedis(options) { server in
            let value = [UInt8](repeating: 9, count: 1 << 20)
            for host in ["localhost", "127.0.0.1"] {
                let url = "rediss://\(host):\(server.port)?ca_file=\(server.directory)/root.pem"
                try await withClient(try RedisSettings(url: url)) { client in
                    _ = try await client.send(.set(bytes("k"), value), within: ample)
                    #expect(try await client.send(.get(bytes("k")), within: ample) == .bytes(value))
                }
            }
            for (url, words) in [
                (
                    "rediss://localhost:\(server.port)?ca_file=\(server.directory)/other.pem",
                    "CERTIFICATE_VERIFY_FAILED"
                ),
                ("redis://localhost:\(server.port)", "Redis at localhost"),
            ] {
                let error = try await withClient(try RedisSettings(url: url)) { client in
                    await failure { () throws(RedisError) in try await client.send(.ping, within: ample) }
                }
                #expect(error?.kind == .unavailable)
                #expect(error?.message.contains(words) == true, "\(error?.message ?? "no error")")
            }
        }
    }

    @Test func `a closed port is one clear error, at once while the pause lasts`() async throws {
        var settings = RedisSettings(endpoint: .init(host: "127.0.0.1", port: try FreePorts.take()))
        settings.minimumBackoff = .seconds(60)
        settings.maximumBackoff = .seconds(60)
        try await withClient(settings) { client in
            for _ in 0..<3 {
                let error = await failure { () throws(RedisError) in try await client.send(.ping, within: ample) }
                #expect(error?.kind == .unavailable)
                #expect(error?.message.contains("Connection refused") == true, "\(error?.message ?? "no error")")
            }
        }
    }

    @Test func `a server that stops where it is costs the deadline, and is there again when it goes on`() async throws {
        try await withPrivateRedis { server in
            var settings = server.settings
            settings.patience = .milliseconds(20)
            settings.connectTimeout = .seconds(1)
            try await withClient(settings) { client in
                _ = try await client.send(.set(bytes("k"), bytes("v")), within: ample)
                server.pause()
                let start = ContinuousClock.now
                let error = await failure { () throws(RedisError) in
                    try await client.send(.get(bytes("k")), within: .milliseconds(50))
                }
                #expect(error?.kind == .deadlineExceeded)
                #expect(ContinuousClock.now - start < ample / 2)
                // Its connection is closed, and a new one is not greeted.
                let next = await failure { () throws(RedisError) in
                    try await client.send(.get(bytes("k")), within: ample)
                }
                #expect(next?.kind == .unavailable)
                server.resume()
                try await until("the server to be back") {
                    (try? await client.send(.get(bytes("k")), within: ample)) == .bytes(bytes("v"))
                }
            }
        }
    }

    @Test func `a server that is killed fails what is under way and serves again without a new client`() async throws {
        try await withPrivateRedis { server in
            try await withClient(server.settings) { client in
                for _ in 0..<3 {
                    _ = try await client.send(.ping, within: ample)
                    async let stuck = failure { () throws(RedisError) in
                        try await client.send(RedisCommand("BLPOP", [bytes("none"), bytes("0")]), within: ample)
                    }
                    try await until("the command to be there") {
                        try await server.cli("CLIENT", "LIST").contains("cmd=blpop")
                    }
                    await server.kill()
                    #expect(await stuck?.kind == .connectionLost)
                    let down = await failure { () throws(RedisError) in try await client.send(.ping, within: ample) }
                    #expect(down?.kind == .unavailable)
                    try await server.startServer()
                    try await until("Redis to be back") { (try? await client.send(.ping, within: ample)) != nil }
                }
            }
        }
    }

    @Test func `a caller with little time or that is cancelled costs others nothing`() async throws {
        try await withPrivateRedis { server in
            var settings = server.settings
            settings.maximumConnections = 1
            settings.patience = .seconds(60)
            try await withClient(settings) { client in
                let connection = try await client.send(RedisCommand("CLIENT", [bytes("ID")]), within: ample)
                server.pause()
                async let first = client.send(.ping, within: ample)
                async let second = client.send(.get(bytes("k")), within: ample)
                let late = await failure { () throws(RedisError) in
                    try await client.send(.ping, within: .milliseconds(5))
                }
                #expect(late?.kind == .deadlineExceeded)
                let task = Task { try await client.send(.ping, within: ample) }
                task.cancel()
                let cancelled = await #expect(throws: RedisError.self) { try await task.value }
                #expect(cancelled?.kind == .cancelled)
                server.resume()
                let replies = [try await first, try await second]
                #expect(replies == [.status("PONG"), .null])
                let after = try await client.send(RedisCommand("CLIENT", [bytes("ID")]), within: ample)
                #expect(after == connection)
            }
        }
    }

    @Test func `a thousand calls at once share the few connections there may be`() async throws {
        try await withPrivateRedis { server in
            var settings = server.settings
            settings.maximumConnections = 3
            try await withClient(settings) { client in
                try await withThrowingTaskGroup(of: Bool.self) { group in
                    for number in 0..<1000 {
                        group.addTask {
                            let key = bytes("k\(number)")
                            let value = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 10_000)
                            let replies = try await client.send([.set(key, value), .get(key)], within: ample)
                            return replies == [.status("OK"), .bytes(value)]
                        }
                    }
                    for try await isRight in group { #expect(isRight) }
                }
                // One more is this question's.
                let info = try await server.cli("INFO", "clients")
                let count = info.split(whereSeparator: \.isNewline).first { $0.hasPrefix("connected_clients:") }
                #expect(count.flatMap { Int($0.dropFirst(18)) } ?? 99 <= 4)
                #expect(try await server.cli("INFO", "stats").contains("rejected_connections:0"))
                let total = try await server.cli("CLIENT", "LIST").split(whereSeparator: \.isNewline)
                #expect(total.count { $0.contains("name=esper") } == 3)
            }
        }
    }

    @Test func `what goes beyond the bound is refused and the rest is served`() async throws {
        try await withPrivateRedis { server in
            var settings = server.settings
            settings.maximumRequests = 10
            settings.maximumConnections = 1
            settings.maximumRequestsInFlight = 2
            try await withClient(settings) { client in
                let outcomes = await withTaskGroup(of: RedisError?.self) { group in
                    for _ in 0..<100 {
                        group.addTask {
                            await failure { () throws(RedisError) in
                                try await client.send(
                                    RedisCommand("DEBUG", [bytes("SLEEP"), bytes("0.01")]), within: ample)
                            }
                        }
                    }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                #expect(outcomes.count { $0 == nil } >= 10)
                #expect(outcomes.compactMap { $0 }.allSatisfy { $0.kind == .overloaded })
                #expect(outcomes.contains { $0 != nil })
            }
        }
    }

    @Test func `a full server refuses writes and serves reads`() async throws {
        var options = PrivateRedis.Options()
        options.lines = ["maxmemory 4mb", "maxmemory-policy noeviction"]
        try await withPrivateRedis(options) { server in
            try await withClient(server.settings) { client in
                _ = try await client.send(.set(bytes("k"), bytes("v")), within: ample)
                let value = [UInt8](repeating: 1, count: 1 << 20)
                let replies = try await client.send((0..<8).map { .set(bytes("\($0)"), value) }, within: ample)
                guard case .error(let error) = replies[7] else {
                    Issue.record("no error: \(replies[7])")
                    return
                }
                #expect(error.code == "OOM")
                #expect(try await client.send(.get(bytes("k")), within: ample) == .bytes(bytes("v")))
            }
        }
    }

    @Test func `a client that is closed fails what is under way, refuses what comes, and leaves no connection`()
        async throws
    {
        try await withPrivateRedis { server in
            try await withClient(server.settings) { client in
                _ = try await client.send(.ping, within: ample)
                async let stuck = failure { () throws(RedisError) in
                    try await client.send(RedisCommand("BLPOP", [bytes("none"), bytes("0")]), within: ample)
                }
                try await until("the command to be there") {
                    try await server.cli("CLIENT", "LIST").contains("cmd=blpop")
                }
                await client.close()
                #expect(await stuck?.kind == .shuttingDown)
                let late = await failure { () throws(RedisError) in try await client.send(.ping, within: ample) }
                #expect(late?.kind == .shuttingDown)
                try await until("the server to see it") {
                    try await !server.cli("CLIENT", "LIST").contains("name=esper")
                }
            }
        }
    }
}

import PostgreSQL
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(5))) struct ConnectionTests {
    @Test func `a wrong password, an unknown host or database and a closed port each give one clear error`()
        async throws
    {
        try await withPrivatePostgreSQL { server in
            var wrongPassword = server.networkSettings
            wrongPassword.password = "wrong"
            var unknownHost = server.networkSettings
            unknownHost.hosts = ["nowhere.invalid"]
            var closedPort = server.networkSettings
            closedPort.port = 1
            var unknownDatabase = server.networkSettings
            unknownDatabase.database = "absent"
            for (settings, words) in [
                (wrongPassword, "password authentication failed"), (unknownHost, "nowhere.invalid"),
                (closedPort, "Connection refused"), (unknownDatabase, "\"absent\" does not exist"),
            ] {
                let error = try await withClient(settings) { client in
                    await failure { try await client.query(Statement("SELECT 1")) }
                }
                #expect(error?.kind == .unavailable)
                #expect(error?.outcome == .notCommitted)
                #expect(error?.message.contains(words) == true, "\(error?.message ?? "no error")")
                #expect(error?.message.contains("\n") == false)
                #expect(error?.message.contains("wrong") == false || words == "wrong")
            }
        }
    }

    @Test func `TLS is verified, and its absence or another authority is one clear error`() async throws {
        try await withPrivatePostgreSQL(withTLS: true) { server in
            var verified = server.networkSettings
            verified.tls = .verifyFull
            verified.rootCertificatePath = server.rootCertificatePath
            let version = try await withClient(verified) { client in
                try await client.query(
                    Statement("SELECT version AS v FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                ).only().text("v")
            }
            #expect(version == "TLSv1.3")

            var otherRoot = verified
            otherRoot.rootCertificatePath = server.directory + "/other.pem"
            var plaintext = server.networkSettings
            plaintext.user = "tls_only"
            for (settings, words) in [(otherRoot, "certificate verify failed"), (plaintext, "no encryption")] {
                let error = try await withClient(settings) { client in
                    await failure { try await client.query(Statement("SELECT 1")) }
                }
                #expect(error?.kind == .unavailable)
                #expect(error?.message.contains(words) == true, "\(error?.message ?? "no error")")
            }
        }
    }

    @Test func `a server without TLS is refused when TLS is wanted`() async throws {
        try await withPrivatePostgreSQL { server in
            var settings = server.networkSettings
            settings.tls = .require
            let error = try await withClient(settings) { client in
                await failure { try await client.query(Statement("SELECT 1")) }
            }
            #expect(error?.message.contains("server does not support SSL") == true)
        }
    }

    @Test func `a paused server holds no caller beyond its deadline and blocks nothing`() async throws {
        try await withPrivatePostgreSQL { server in
            try await withClient(server.socketSettings) { client in
                _ = try await client.query(Statement("SELECT 1"))
                try server.pause()
                let clock = ContinuousClock()
                let start = clock.now
                let errors = await withTaskGroup(of: PostgreSQLError?.self) { group in
                    for _ in 0..<200 {
                        group.addTask {
                            await failure {
                                try await client.query(Statement("SELECT 1"), within: .milliseconds(300))
                            }
                        }
                    }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                let elapsed = clock.now - start
                #expect(errors.allSatisfy { $0?.kind == .deadlineExceeded || $0?.kind == .unavailable })
                #expect(errors.contains { $0?.outcome == .unknown })
                #expect(elapsed >= .milliseconds(300) && elapsed < .seconds(30), "\(elapsed)")
                try server.resume()
                await until { await failure { try await client.query(Statement("SELECT 1")) } == nil }
            }
        }
    }

    @Test func `a cancelled caller returns at once and the server gives its work up`() async throws {
        try await withPrivatePostgreSQL { server in
            var settings = server.socketSettings
            settings.connections = 1
            try await withClient(settings) { client in
                let sleeper = Task {
                    await failure {
                        try await client.query(Statement("SELECT pg_sleep(3600), 'long'"), within: .seconds(3600))
                    }
                }
                let sleeping =
                    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%long%' AND pid <> pg_backend_pid()"
                try await until { try await server.sql(sleeping) == "1" }
                sleeper.cancel()
                let error = await sleeper.value
                #expect(error?.kind == .cancelled)
                #expect(error?.outcome == .unknown)
                try await until { try await server.sql(sleeping) == "0" }
                _ = try await client.query(Statement("SELECT 1"))
            }
        }
    }

    @Test func `a statement that runs too long is stopped by the server and may be tried again`() async throws {
        try await withPrivatePostgreSQL { server in
            var settings = server.socketSettings
            settings.statementTimeout = .milliseconds(100)
            try await withClient(settings) { client in
                let error = await failure { try await client.query(Statement("SELECT pg_sleep(60)")) }
                #expect(error?.sqlState == "57014")
                #expect(error?.isRetryable == true)
            }
        }
    }

    @Test func `a server that comes back is used again, and what was in doubt was said to be`() async throws {
        try await withPrivatePostgreSQL { server in
            try await withClient(server.socketSettings) { client in
                _ = try await client.query(Statement("CREATE TABLE kept (n bigint PRIMARY KEY)"))
                let writer = Task {
                    var stored: [Int64] = []
                    var failed: [Int64] = []
                    var number: Int64 = 0
                    while !Task.isCancelled {
                        number += 1
                        let insert = Statement("INSERT INTO kept VALUES ($1)", [.int64(number)])
                        switch await failure({ try await client.query(insert) }) {
                        case nil: stored.append(number)
                        case let error? where error.outcome == .notCommitted: failed.append(number)
                        default: break
                        }
                    }
                    return (stored, failed)
                }
                for _ in 0..<3 {
                    await until { client.status.connectionsUp > 0 }
                    try await server.stopServer()
                    await until { client.status.unavailable != nil }
                    try await server.startServer()
                }
                await until { await failure { try await client.query(Statement("SELECT 1")) } == nil }
                writer.cancel()
                let (stored, failed) = await writer.value
                let rows = try await client.query(Statement("SELECT n FROM kept"))
                let present = Set(try rows.all.map { try $0.int64("n") })
                #expect(!stored.isEmpty && present.isSuperset(of: stored))
                #expect(present.isDisjoint(with: failed))
            }
        }
    }

    @Test func `shutting down serves what waits, ends at its deadline and leaves no connection`() async throws {
        try await withPrivatePostgreSQL { server in
            let client = PostgreSQLClient(settings: server.socketSettings, logger: silent, seed: 3)
            client.start()
            _ = try await client.query(Statement("SELECT 1"))
            // Alone, or both would share a transaction and its fate.
            async let short = failure {
                try await client.execute([Statement("SELECT pg_sleep(0.2)")], isAlone: true)
            }
            async let long = failure {
                try await client.execute(
                    [Statement("SELECT pg_sleep(60)")], within: .seconds(60), isAlone: true)
            }
            await until { client.status.requests == 2 }
            await client.shutdown(drainingFor: .milliseconds(700))
            #expect(await short == nil)
            #expect(await long?.kind == .shuttingDown)
            #expect(await long?.outcome == .unknown)
            try await until {
                try await server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'esper'") == "0"
            }
        }
    }

    @Test func `connection strings are read as libpq writes them`() throws {
        let settings = try PostgreSQLSettings(
            connectionString: "postgresql://ann:s%20ecret@db.example:6000/books?sslrootcert=/r.pem&connect_timeout=3")
        #expect(settings.hosts == ["db.example"])
        #expect(settings.port == 6000)
        #expect(settings.database == "books")
        #expect(settings.tls == .verifyFull)
        #expect(settings.connectTimeout == .seconds(3))
        #expect(!"\(settings)".contains("ecret"))
        for wrong in ["postgresql://h/d?sslmode=prefer", "host=h", "nonsense", "host=h sslmode=disable port=x"] {
            #expect(throws: PostgreSQLError.self) { try PostgreSQLSettings(connectionString: wrong) }
        }
    }
}

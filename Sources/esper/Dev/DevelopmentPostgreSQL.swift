import Foundation

/// The private PostgreSQL of a development cluster: loopback only, a password, a database and an owner named esper.
struct DevelopmentPostgreSQL {
    let service: DevelopmentService
    let port: Int
    /// Where initdb and postgres stand.
    let programs: String

    static let minimumVersion = 15

    init(cluster: DevelopmentCluster) throws {
        service = DevelopmentService(name: "postgres", directory: "\(cluster.directory)/postgres")
        port = cluster.postgresPort
        guard let programs = Self.findPrograms() else {
            throw CommandFailure(
                "PostgreSQL \(Self.minimumVersion) or newer was not found: apt-get install postgresql, or --no-catalog")
        }
        self.programs = programs
    }

    private var data: String { "\(service.place)/data" }

    func connectionString() throws -> String {
        "host=127.0.0.1 port=\(port) dbname=esper user=esper password=\(try service.password()) sslmode=disable"
    }

    /// Creates the database cluster when there is none, starts the server when it is down, waits until it answers.
    func up() async throws {
        try await service.prepare()
        if !Files.exists("\(data)/PG_VERSION") {
            try await Spawn.run(
                Account.dropping([
                    "\(programs)/initdb", "-D", data, "-U", "esper", "-E", "UTF8", "--locale=C", "--no-sync",
                    "--auth=scram-sha-256", "--pwfile=\(service.place)/password",
                ]))
        }
        if !service.isRunning {
            // A socket's path has 107 bytes; where ours is longer, loopback alone must do.
            let sockets = service.place.utf8.count < 80 ? service.place : ""
            try service.start([
                "\(programs)/postgres", "-D", data, "-c", "port=\(port)", "-c", "listen_addresses=127.0.0.1",
                "-c", "unix_socket_directories=\(sockets)", "-c", "shared_buffers=32MB", "-c", "max_connections=60",
            ])
        }
        let password = try service.password()
        try await service.waitUntilReady(seconds: 30) { await answers("select 1", password: password) != nil }
        if await answers("select 1 from pg_database where datname = 'esper'", password: password)?.isEmpty ?? true {
            _ = try await Spawn.run(psql("create database esper"), environment: ["PGPASSWORD": password])
        }
    }

    private func psql(_ statement: String) -> [String] {
        [
            "\(programs)/psql", "-X", "-q", "-t", "-A", "-h", "127.0.0.1", "-p", "\(port)", "-U", "esper",
            "-d", "postgres", "-c", statement,
        ]
    }

    /// What the server answers, trimmed; nil when it does not.
    private func answers(_ statement: String, password: String) async -> String? {
        do {
            return try await Spawn.run(
                psql(statement), environment: ["PGPASSWORD": password, "PGCONNECT_TIMEOUT": "2"]
            )
            .trimmingCharacters(in: .whitespacesAndNewlines)
        } catch {
            // Not up yet; whoever waits looks at the process and the clock.
            return nil
        }
    }

    /// The newest version that Debian's packages brought, else whatever stands on PATH.
    private static func findPrograms() -> String? {
        let root = "/usr/lib/postgresql"
        let versions = ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []).compactMap { Int($0) }
        let packaged = versions.filter { $0 >= minimumVersion }.sorted(by: >).map { "\(root)/\($0)/bin" }
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        return (packaged + path.split(separator: ":").map(String.init)).first {
            Files.exists("\($0)/initdb") && Files.exists("\($0)/postgres")
        }
    }
}

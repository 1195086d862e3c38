import Foundation
import Glibc

/// A PostgreSQL server of one test, in a directory of its own, on a free loopback port and a Unix socket.
///
/// It runs under an unprivileged account, for PostgreSQL refuses root. Whatever happens to the test process, a
/// janitor that waits for the end of a pipe stops the server and removes the directory.
///
/// Over the socket everybody is trusted. Over TCP the role `esper` needs its password; the role `tls_only` is
/// admitted through TLS alone. The database is `esper`.
public final class PrivatePostgreSQL: Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public var description: String
    }

    public static let password = "correct horse"

    public let directory: String
    public let port: Int
    /// The authority of the server's certificate, which names `localhost` and `127.0.0.1`; nil without TLS.
    public let rootCertificatePath: String?
    private let programs: String
    private let janitor: Child

    /// Makes and starts a server, which takes a fraction of a second: its files are copied from a template.
    public static func start(withTLS: Bool = false) async throws -> PrivatePostgreSQL {
        let server = try await onThread { try PrivatePostgreSQL(withTLS: withTLS) }
        do {
            try await server.startServer()
        } catch {
            await server.remove()
            throw error
        }
        return server
    }

    /// Whether PostgreSQL's programs are on this machine.
    public static var isInstalled: Bool { installed != nil }

    /// The directory of the socket, for use as a host.
    public var socketDirectory: String { directory }

    private init(withTLS: Bool) throws {
        guard let programs = Self.installed else { throw Failure(description: "no PostgreSQL programs found") }
        self.programs = programs
        port = try FreePorts.take()
        (directory, janitor) = try Self.makeDirectory()
        if withTLS {
            rootCertificatePath = directory + "/root.pem"
            try TestCertificates.make(in: directory)
        } else {
            rootCertificatePath = nil
        }
        if getuid() == 0 { try Child.run("/bin/chown", ["-R", "postgres", directory]) }
        try Child.run("/bin/cp", ["-a", try Self.template.get().directory + "/data", directory])
        try configure(withTLS: withTLS)
    }

    /// What every server of this process starts as; gone with the process.
    private static let template: Result<(directory: String, janitor: Child), any Error> = Result {
        let (directory, janitor) = try makeDirectory()
        if getuid() == 0 { try Child.run("/bin/chown", ["postgres", directory]) }
        let data = directory + "/data"
        guard let programs = installed else { throw Failure(description: "no PostgreSQL programs found") }
        try asServer(
            programs + "/initdb",
            [
                "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8",
                "--wal-segsize=1",
            ])
        // The single-user mode reads one command a line.
        try asServer(
            "/bin/sh",
            [
                "-c",
                """
                "$0/postgres" --single -F -D "$1" postgres <<EOF
                CREATE ROLE esper LOGIN PASSWORD '\(password)'
                CREATE ROLE tls_only LOGIN PASSWORD '\(password)'
                CREATE DATABASE esper OWNER esper
                EOF
                """, programs, data,
            ])
        return (directory, janitor)
    }

    /// A directory and the child that will remove it, and stop a server that runs in it.
    private static func makeDirectory() throws -> (String, Child) {
        // Socket paths are short: 107 bytes is all the kernel takes.
        let directory = "/tmp/esper-pg-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        guard mkdir(directory, 0o700) == 0 else { throw Failure(description: "cannot make \(directory)") }
        let janitor = try Child(
            "/bin/sh",
            [
                "-c",
                """
                read -r line
                p=$(head -n 1 "$0/data/postmaster.pid" 2> /dev/null) && kill -CONT "$p" && kill -QUIT "$p"
                while [ -n "$p" ] && kill -0 "$p" 2> /dev/null; do sleep 0.05; done
                rm -rf "$0"
                """, directory,
            ], output: "/dev/null")
        return (directory, janitor)
    }

    // MARK: Life

    /// Starts the server and returns when it answers.
    public func startServer() async throws {
        _ = try await onThread { [self] in
            try Self.asServer(
                programs + "/pg_ctl",
                ["-D", directory + "/data", "-w", "-t", "60", "-s", "-l", directory + "/log", "start"])
        }
    }

    /// Stops the server as a crash would: connections break, nothing is said.
    public func stopServer() async throws {
        _ = try await onThread { [self] in
            try Self.asServer(programs + "/pg_ctl", ["-D", directory + "/data", "-w", "-s", "-m", "immediate", "stop"])
        }
    }

    /// Every process of the server stops where it is: connections stay open and nobody answers.
    public func pause() throws { try signalAll(SIGSTOP) }

    public func resume() throws { try signalAll(SIGCONT) }

    /// Stops the server and removes its directory.
    public func remove() async {
        await onThread { [self] in
            try? signalAll(SIGCONT)
            janitor.writeLine()
            _ = janitor.wait()
        }
    }

    /// What `psql` prints for a statement, fields separated by `|`.
    public func sql(_ text: String, database: String = "esper") async throws -> String {
        try await onThread { [self] in
            try Self.asServer(
                programs + "/psql",
                [
                    "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", directory, "-p", String(port), "-U",
                    "postgres", "-d", database, "-c", text,
                ])
        }
    }

    private func configure(withTLS: Bool) throws {
        var settings = """
            port = \(port)
            listen_addresses = '127.0.0.1'
            unix_socket_directories = '\(directory)'
            fsync = off
            max_connections = 40
            shared_buffers = 16MB

            """
        if withTLS {
            settings +=
                "ssl = on\nssl_cert_file = '\(directory)/server.pem'\nssl_key_file = '\(directory)/server.key'\n"
        }
        let access = """
            local all all trust
            hostssl all all 127.0.0.1/32 scram-sha-256
            hostnossl all esper 127.0.0.1/32 scram-sha-256

            """
        let configuration = directory + "/data/postgresql.conf"
        let before = try String(contentsOfFile: configuration, encoding: .utf8)
        try overwrite(configuration, before + settings)
        try overwrite(directory + "/data/pg_hba.conf", access)
    }

    /// Keeps the owner of the file, which an atomic replacement would not.
    private func overwrite(_ path: String, _ text: String) throws {
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try handle.truncate(atOffset: 0)
        try handle.write(contentsOf: Data(text.utf8))
        try handle.close()
    }

    private func signalAll(_ signal: Int32) throws {
        let text = try String(contentsOfFile: directory + "/data/postmaster.pid", encoding: .utf8)
        guard let postmaster = text.split(separator: "\n").first.flatMap({ Int32($0) }) else {
            throw Failure(description: "no postmaster")
        }
        // The postmaster first when it stops, so that it makes no more children; last when it goes on.
        if signal == SIGSTOP { kill(postmaster, signal) }
        for child in try Self.children(of: postmaster) { kill(child, signal) }
        if signal != SIGSTOP { kill(postmaster, signal) }
    }

    private static func children(of parent: Int32) throws -> [Int32] {
        try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { Int32($0) }.filter { pid in
            guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
                let end = stat.lastIndex(of: ")")
            else { return false }
            let fields = stat[stat.index(after: end)...].split(separator: " ")
            return fields.count > 1 && Int32(fields[1]) == parent
        }
    }

    // MARK: Programs

    private static let installed: String? = {
        let root = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        return versions.compactMap { Int($0) }.sorted().last.map { "\(root)/\($0)/bin" }
    }()

    @discardableResult
    private static func asServer(_ program: String, _ arguments: [String]) throws -> String {
        guard getuid() == 0 else { return try Child.run(program, arguments) }
        return try Child.run("/sbin/runuser", ["-u", "postgres", "--", program] + arguments)
    }
}

/// Gives `body` a server that is removed afterwards, whatever happens.
public func withPrivatePostgreSQL<Result>(
    withTLS: Bool = false, _ body: (PrivatePostgreSQL) async throws -> Result
) async throws -> Result {
    let server = try await PrivatePostgreSQL.start(withTLS: withTLS)
    do {
        let result = try await body(server)
        await server.remove()
        return result
    } catch {
        await server.remove()
        throw error
    }
}

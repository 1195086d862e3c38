import Foundation
import RedisDoor
import TestSupport
import Testing

/// The door's answers beside those of Debian's redis-server (7.0), which has to be installed.
@Suite(
    .timeLimit(.minutes(5)),
    .enabled(
        if: FileManager.default.isExecutableFile(atPath: "/usr/bin/redis-server"), "redis-server is not installed"))
struct RedisComparisonTests {
    @Test func `every line is answered as Redis answers it`() async throws {
        let port = try FreePorts.take()
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("redis-\(port)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let server = Process()
        server.executableURL = URL(fileURLWithPath: "/usr/bin/redis-server")
        server.arguments = ["--port", "\(port)", "--save", "", "--dir", directory.path]
        server.standardOutput = FileHandle.nullDevice
        try server.run()
        defer {
            // Not asked to end: the runner blocks that signal, and what it starts inherits so.
            kill(server.processIdentifier, SIGKILL)
            server.waitUntilExit()
            try? FileManager.default.removeItem(at: directory)
        }
        let redis = try await eventually("redis-server") { try? WireClient(port: port) }
        try await TestDoor.with([RedisUser(name: "default", tenant: "t", kind: .store)]) { served in
            let door = try served.client()
            for line in RedisCommandLines.all {
                let expected = normalised(try redis.ask(line))
                let found = normalised(try door.ask(line))
                #expect(found == expected, "\(line)")
            }
        }
    }

    /// A time to live may have lost a second on the way.
    private func normalised(_ answer: String) -> String {
        switch answer {
        case ":99": ":100"
        case ":199": ":200"
        case ":299": ":300"
        default: answer
        }
    }
}

import ClusterSupport
import Foundation
import TestSupport
import Testing

/// A new user at a shell: an empty directory, `esper` on the PATH, free ports.
struct DevelopmentWalk {
    /// Where the user stands; the cluster's files are below it.
    let place: String
    let basePort: Int

    private var directory: String { place + "/dev" }

    /// Leaves neither a process nor a file behind, not even when this process dies.
    static func run(_ body: (DevelopmentWalk) async throws -> Void) async throws {
        let root = ProcessInfo.processInfo.environment["ESPER_TEST_DIRECTORY"] ?? NSTemporaryDirectory()
        let place = root + "/esper-walk-\(UInt64.random(in: 0 ... .max))"
        // PostgreSQL's account must be able to pass.
        try FileManager.default.createDirectory(
            atPath: place, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o711])
        let janitor = try Child(
            "/bin/sh",
            [
                "-c",
                """
                read -r line
                "$1" dev down --dir "$0/dev"
                for link in "$0"/dev/*; do [ -L "$link" ] && rm -rf "$(readlink "$link")"; done
                rm -rf "$0"
                """, place, EsperProgram.binary.path,
            ], output: "/dev/null")
        let result: Result<Void, any Error>
        do {
            try await body(DevelopmentWalk(place: place, basePort: try FreePorts.takeRow(of: 40)))
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await onThread {
            janitor.writeLine()
            _ = janitor.wait()
        }
        try result.get()
    }

    /// Starts `esper`; commands of `dev` are told the directory, all others find it by the environment.
    func start(_ arguments: String...) throws -> EsperProgram { try start(arguments) }

    private func start(_ arguments: [String]) throws -> EsperProgram {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        return try EsperProgram(
            arguments + (arguments[0] == "dev" ? ["--dir", directory] : []), in: place,
            environment: [
                "ESPER_CONFIG": directory + "/client.yaml",
                "PATH": EsperProgram.binary.deletingLastPathComponent().path + ":" + path,
            ])
    }

    /// - Returns: what a command printed that ended well, without the last end of line.
    func esper(
        _ arguments: String..., within limit: Duration = .seconds(30), from location: SourceLocation = #_sourceLocation
    ) async throws -> String {
        try await esper(arguments, within: limit, location)
    }

    private func esper(_ arguments: [String], within limit: Duration, _ location: SourceLocation) async throws -> String
    {
        let result = try await start(arguments).result(within: limit)
        #expect(result.code == 0, "\(arguments): \(result.errors)", sourceLocation: location)
        return result.output.hasSuffix("\n") ? String(result.output.dropLast()) : result.output
    }

    /// One JSON document and nothing else on standard output.
    func document(
        _ arguments: String..., from location: SourceLocation = #_sourceLocation
    ) async throws -> [String: Any] {
        let text = try await esper(arguments + ["--output", "json"], within: .seconds(30), location)
        return try #require(
            try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any], sourceLocation: location)
    }

    /// The process of each node that runs, of `dev status`.
    func processes(of status: [String: Any]) -> [Int] {
        (status["nodes"] as? [[String: Any]] ?? []).compactMap { $0["pid"] as? Int }
    }

    /// Takes the leader away, and waits until the others say who leads and who is lost.
    func lostLeader(_ fault: String) async throws -> String {
        let done = try await document("dev", fault, "leader")
        let lost = try #require((done["nodes"] as? [String])?.first)
        try await until("another leader than \(lost)") {
            let status = try await document("cluster", "status")
            guard let leader = status["leader"] as? String, status["answered_by"] as? String != lost else {
                return false
            }
            return leader != lost && unreachable(in: status) == [lost]
        }
        return lost
    }

    func unreachable() async throws -> [String] { unreachable(in: try await document("cluster", "status")) }

    /// The members that each node on this host does not reach, by its own word; all of them where it says nothing.
    func unreachableByNode() async throws -> [String: [String]] {
        let nodes = try await document("dev", "status")["nodes"] as? [[String: Any]] ?? []
        return Dictionary(
            uniqueKeysWithValues: nodes.map { node in
                let status = node["status"] as? [String: Any]
                return (node["name"] as? String ?? "", status.map { unreachable(in: $0) } ?? ["everyone"])
            })
    }

    private func unreachable(in status: [String: Any]) -> [String] {
        (status["members"] as? [[String: Any]] ?? [])
            .filter { $0["reachable"] as? Bool != true }.compactMap { $0["name"] as? String }
    }
}

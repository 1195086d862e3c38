import Foundation
import TestSupport

/// The scenarios, which are in Python because the clients are.
enum CompatibilitySuite {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    static let directory = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "python")

    /// Whether this machine has everything that the suite drives.
    static func isPossible() async throws -> Bool {
        try await run("suite.py", ["--missing"]).status == 0
    }

    /// Runs every scenario against a cluster.
    ///
    /// - Parameter root: the directory of its certificates; gets the documents.
    /// - Returns: the path of one JSON document a line for each scenario.
    static func documents(of name: String, ports: [Int], in root: String) async throws -> String {
        let output = "\(root)/\(name).jsonl"
        let (status, text) = try await run("suite.py", arguments(ports, root) + ["--output", output, "--times"])
        guard status == 0 else { throw Failure(description: "the suite stopped on \(name): \(text)") }
        return output
    }

    /// Runs a script that drives a cluster by itself.
    ///
    /// - Returns: what it printed, line by line.
    static func report(
        _ script: String, ports: [Int], in root: String, _ more: [String]
    ) async throws -> [String] {
        let (status, text) = try await run(script, arguments(ports, root) + more)
        guard status == 0 else { throw Failure(description: "\(script) ended with \(status): \(text)") }
        return text.split(separator: "\n").map(String.init)
    }

    private static func arguments(_ ports: [Int], _ root: String) -> [String] {
        let protos = directory.appending(path: "../../../Sources/EtcdProtocol/proto").standardizedFileURL
        return [
            "--protos", protos.path, "--ports", ports.map(String.init).joined(separator: ","),
            "--ca", "\(root)/ca.pem", "--certificate", "\(root)/tester.pem", "--key", "\(root)/tester.key",
        ]
    }

    /// - Returns: differences that are not meant, and those that are said to be meant but are none.
    static func differences(between expected: String, and actual: String) async throws -> [String] {
        let list = directory.appending(path: "differences.json").path
        let (status, text) = try await run("compare.py", [list, expected, actual])
        guard status != 0 else { return [] }
        // What belongs to a difference is indented below its first line.
        var found: [String] = []
        for line in text.split(separator: "\n") {
            if line.hasPrefix(" "), let last = found.indices.last {
                found[last] += "\n" + line
            } else {
                found.append(String(line))
            }
        }
        return found.isEmpty ? ["compare.py ended with \(status) and said nothing"] : found
    }

    /// The arguments of `/usr/bin/env` that run a script.
    static func command(_ script: String, _ arguments: [String]) -> [String] {
        let python = ProcessInfo.processInfo.environment["ESPER_TEST_PYTHON"] ?? "python3"
        return [python, "-B", directory.appending(path: script).path] + arguments
    }

    private static func run(_ script: String, _ arguments: [String]) async throws -> (status: Int32, output: String) {
        let output = NSTemporaryDirectory() + "/esper-compatibility-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: output) }
        return try await onThread {
            let child = try Child("/usr/bin/env", command(script, arguments), output: output)
            let status = child.wait()
            return (status, (try? String(contentsOfFile: output, encoding: .utf8)) ?? "")
        }
    }
}

public import Foundation
import Glibc
import TestSupport

/// One call of `esper`, as people and scripts make it.
public final class EsperProgram: Sendable {
    public struct Result: Sendable {
        public var code: Int32
        public var output: String
        /// Lines of standard error.
        public var errors: [String]

        /// Standard output as one JSON object; nil when it is anything else.
        public var document: [String: Any]? {
            try? JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any]
        }
    }

    /// The program stands beside `esper-node`.
    public static var binary: URL {
        URL(fileURLWithPath: NodeProcess.binary).deletingLastPathComponent().appendingPathComponent("esper")
    }

    private let words: String
    private let process = Process()
    private let outputPath: String
    private let errorPath: String

    /// Starts the program.
    ///
    /// - Parameters:
    ///   - directory: where it runs, and where what it prints is kept.
    ///   - environment: added to ours; a variable that is set to nothing is removed.
    public init(_ arguments: [String], in directory: String, environment: [String: String] = [:]) throws {
        words = "esper " + arguments.joined(separator: " ")
        let stem = "\(directory)/esper-\(UInt64.random(in: 0 ... .max))"
        (outputPath, errorPath) = (stem + ".out", stem + ".err")
        for file in [outputPath, errorPath] { try Data().write(to: URL(fileURLWithPath: file)) }
        process.executableURL = Self.binary
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
            .filter { !$0.value.isEmpty }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: outputPath))
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errorPath))
        try process.run()
    }

    /// What it has printed so far.
    public var output: String { (try? String(contentsOfFile: outputPath, encoding: .utf8)) ?? "" }

    /// Waits for the end.
    ///
    /// - Throws: ``WaitedInVain`` when it still runs at the end of `limit`; it is killed then.
    public func result(within limit: Duration = .seconds(30)) async throws -> Result {
        do {
            try await until(words, within: limit) { !process.isRunning }
        } catch {
            if process.isRunning { kill(process.processIdentifier, SIGKILL) }
            throw error
        }
        let code = process.terminationStatus
        let errors = try String(contentsOfFile: errorPath, encoding: .utf8)
        return Result(
            code: process.terminationReason == .exit ? code : 128 + code, output: output,
            errors: errors.split(separator: "\n").map(String.init))
    }
}

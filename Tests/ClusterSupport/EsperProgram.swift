public import Foundation
import Glibc
import TestSupport

/// One call of `esper`, or of another program of ours, as people and scripts make it.
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

    public static var binary: URL { binary(of: "esper") }

    /// The programs stand beside `esper-node`.
    private static func binary(of program: String) -> URL {
        URL(fileURLWithPath: NodeProcess.binary).deletingLastPathComponent().appendingPathComponent(program)
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
    ///   - program: its name.
    public init(
        _ arguments: [String], in directory: String, environment: [String: String] = [:], program: String = "esper"
    ) throws {
        words = program + " " + arguments.joined(separator: " ")
        let stem = "\(directory)/\(program)-\(UInt64.random(in: 0 ... .max))"
        (outputPath, errorPath) = (stem + ".out", stem + ".err")
        for file in [outputPath, errorPath] { try Data().write(to: URL(fileURLWithPath: file)) }
        process.executableURL = Self.binary(of: program)
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

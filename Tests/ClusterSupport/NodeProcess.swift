import Foundation
import Glibc
import TestSupport

/// One `esper-node` process.
public final class NodeProcess: Sendable {
    private let process: Process

    /// The program under test stands beside the test program, as the package manager builds them.
    public static var binary: String {
        if let path = ProcessInfo.processInfo.environment["ESPER_NODE_BINARY"] { return path }
        let tests = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        return tests.deletingLastPathComponent().appendingPathComponent("esper-node").path
    }

    /// - Parameters:
    ///   - log: the file that gets standard error; appended to.
    ///   - launcher: a program and its arguments, followed by the node's: it becomes the node (exec).
    public init(
        arguments: [String], log: String, environment: [String: String] = [:], launcher: [String] = []
    ) throws {
        if !FileManager.default.fileExists(atPath: log) {
            _ = FileManager.default.createFile(atPath: log, contents: nil)
        }
        let output = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
        try output.seekToEnd()
        process = Process()
        let words = launcher + [Self.binary] + arguments
        process.executableURL = URL(fileURLWithPath: words[0])
        process.arguments = Array(words.dropFirst())
        process.standardError = output
        process.standardOutput = output
        process.standardInput = FileHandle.nullDevice
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        try process.run()
    }

    public var identifier: Int32 { process.processIdentifier }

    public func signal(_ number: Int32) {
        if process.isRunning { Glibc.kill(process.processIdentifier, number) }
    }

    /// - Returns: the exit status (128 + the signal's number when one ended it); nil when it still runs at the end.
    public func wait(atMost limit: Duration) async -> Int32? {
        let clock = ContinuousClock()
        let deadline = clock.now + limit
        while process.isRunning {
            if clock.now >= deadline { return nil }
            await pause(.milliseconds(2))
        }
        return process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
    }

    /// Resident memory in bytes.
    public var residentBytes: Int {
        guard let text = try? String(contentsOfFile: "/proc/\(identifier)/statm", encoding: .utf8),
            let pages = text.split(separator: " ").dropFirst().first.flatMap({ Int($0) })
        else { return 0 }
        return pages * Int(getpagesize())
    }

    /// Whether it asked for huge pages for some of its memory; the kernel notes that beside each area, also where it gives none.
    public var wantsHugePages: Bool {
        get throws {
            try String(contentsOfFile: "/proc/\(identifier)/smaps", encoding: .utf8).split(separator: "\n").contains {
                $0.hasPrefix("VmFlags:") && $0.split(separator: " ").contains("hg")
            }
        }
    }
}

public import Foundation

/// Runs checks with a gRPC client that is not ours. Needs a Python with grpcio, grpcio-tools and grpcio-reflection, named by
/// `ESPER_TEST_PYTHON`.
public enum PythonCheck {
    private static let python = ProcessInfo.processInfo.environment["ESPER_TEST_PYTHON"] ?? "python3"
    private static let here = URL(filePath: #filePath).deletingLastPathComponent()

    public static func isPossible() async throws -> Bool { try await has("grpc, grpc_tools, grpc_reflection") }

    /// - Parameter modules: separated by commas.
    public static func has(_ modules: String) async throws -> Bool {
        try await run(["-c", "import \(modules)"]).status == 0
    }

    /// Runs a script with arguments of its own.
    ///
    /// - Returns: its exit code and all it printed.
    public static func run(_ script: URL, _ arguments: [String]) async throws -> (status: Int32, output: String) {
        try await run([script.path] + arguments)
    }

    /// - Parameters:
    ///   - script: gets the arguments that `python/esper_stubs.py` names.
    ///   - files: authority, certificate and private key of the client.
    /// - Returns: its exit code and all it printed.
    public static func run(
        _ script: URL, ports: [Int], files: [String]
    ) async throws -> (status: Int32, output: String) {
        let proto = here.appending(path: "../../Sources/EsperProtocol/proto").standardizedFileURL
        return try await run([script.path, proto.path, ports.map(String.init).joined(separator: ",")] + files)
    }

    /// On a thread of its own.
    private static func run(_ arguments: [String]) async throws -> (status: Int32, output: String) {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [python] + arguments
        process.environment = ProcessInfo.processInfo.environment.merging(
            ["PYTHONPATH": here.appending(path: "python").path, "PYTHONDONTWRITEBYTECODE": "1"]) { $1 }
        process.standardOutput = output
        process.standardError = output
        try process.run()
        return await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                process.waitUntilExit()
                continuation.resume(returning: (process.terminationStatus, text))
            }
        }
    }
}

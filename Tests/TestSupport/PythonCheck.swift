public import Foundation

/// Runs checks with a gRPC client that is not ours. Needs a Python with grpcio, grpcio-tools and grpcio-reflection, named by
/// `ESPER_TEST_PYTHON`.
public enum PythonCheck {
    private static let python = ProcessInfo.processInfo.environment["ESPER_TEST_PYTHON"] ?? "python3"
    private static let here = URL(filePath: #filePath).deletingLastPathComponent()

    public static func isPossible() async throws -> Bool {
        try await run(["-c", "import grpc, grpc_tools, grpc_reflection"]).status == 0
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

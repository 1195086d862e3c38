import Foundation
import GRPCTransport
import NIOCore
import NIOPosix
import Testing

/// A gRPC client that is not ours. Needs a Python with grpcio and grpcio-tools; ESPER_TEST_PYTHON names it.
@Suite(.timeLimit(.minutes(2)), .serialized)
struct PythonClientTests {
    static let python = ProcessInfo.processInfo.environment["ESPER_TEST_PYTHON"] ?? "python3"

    @Test(.enabled("needs a Python with grpcio and grpcio-tools: set ESPER_TEST_PYTHON") { try await hasGRPC() })
    func `grpcio finds everything it knows of gRPC`() async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "esper-python-\(getpid())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let texts = TestTLS.shared.files
        var files: [String] = []
        for (name, text) in [("ca", texts.authority), ("client", texts.certificate), ("key", texts.privateKey)] {
            let file = directory.appending(path: "\(name).pem")
            try Data(text.utf8).write(to: file)
            files.append(file.path)
        }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let server = GRPCServer(service: ProtocolService(), methods: ProtocolService.methods)
        let channel = try await server.bind(
            host: "127.0.0.1", port: 0, on: group, tls: TestTLS.shared.serverContext(), principal: { _ in "tester" })
        let here = URL(filePath: #filePath).deletingLastPathComponent()
        let proto = here.appending(path: "../../Sources/EsperProtocol/proto").standardizedFileURL
        let (status, output) = try await Self.run(
            [here.appending(path: "python/check.py").path, proto.path, "\(channel.localAddress?.port ?? 0)"] + files)
        #expect(status == 0, "\(output)")
        #expect(output.hasSuffix("done\n"), "\(output)")
        try await channel.close()
        try await group.shutdownGracefully()
    }

    private static func hasGRPC() async throws -> Bool {
        let (status, _) = try await run(["-c", "import grpc, grpc_tools"])
        return status == 0
    }

    /// Runs Python on a thread of its own and gives back its exit code and all it printed.
    private static func run(_ arguments: [String]) async throws -> (Int32, String) {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [python] + arguments
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

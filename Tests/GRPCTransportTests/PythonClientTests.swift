import EsperProtocol
import Foundation
import GRPCTransport
import NIOCore
import NIOPosix
import TestSupport
import Testing

/// A gRPC client that is not ours. Needs a Python with grpcio and grpcio-tools; ESPER_TEST_PYTHON names it.
@Suite(.timeLimit(.minutes(2)), .serialized)
struct PythonClientTests {
    @Test(
        .enabled("needs a Python with grpcio and grpcio-tools: set ESPER_TEST_PYTHON") {
            try await PythonCheck.isPossible()
        })
    func `grpcio finds everything it knows of gRPC`() async throws { try await run("check.py") }

    @Test(
        .enabled("needs a Python with grpcio and grpcio-reflection: set ESPER_TEST_PYTHON") {
            try await PythonCheck.isPossible()
        })
    func `grpcio calls what it learned by reflection`() async throws { try await run("reflection.py") }

    private func run(_ script: String) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "esper-python-\(getpid())-\(script)")
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
        let reflection = try ReflectionService(descriptorSets: [EsperDescriptors.fileDescriptorSet])
        let server = GRPCServer(services: [
            (ProtocolService(), ProtocolService.methods), (reflection, ReflectionService.methods),
        ])
        let channel = try await server.bind(
            host: "127.0.0.1", port: 0, on: group, tls: TestTLS.shared.serverContext(), principal: { _ in "tester" })
        let here = URL(filePath: #filePath).deletingLastPathComponent()
        let (status, output) = try await PythonCheck.run(
            here.appending(path: "python/\(script)"), ports: [channel.localAddress?.port ?? 0], files: files)
        #expect(status == 0, "\(output)")
        #expect(output.hasSuffix("done\n"), "\(output)")
        try await channel.close()
        try await group.shutdownGracefully()
    }
}

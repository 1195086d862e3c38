import Foundation
import GRPCTransport
import Identity
import NIOCore
import NIOPosix
import NIOSSL
import Testing

/// nghttp2's own load generator against our server. It has no client certificate, so none is asked for here.
@Suite(.timeLimit(.minutes(30)), .serialized)
struct H2LoadTests {
    private static let requests =
        ProcessInfo.processInfo.environment["ESPER_H2LOAD_REQUESTS"].flatMap { Int($0) } ?? 20_000

    @Test(
        .enabled("needs h2load: apt-get install nghttp2-client") {
            try await Command.run("h2load", ["--version"]).0 == 0
        },
        arguments: [(clients: 1, streams: 1), (4, 100), (32, 32)])
    func `every request of h2load is answered`(clients: Int, streams: Int) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let service = EchoService()
        let server = GRPCServer(service: service, methods: service.methods)
        var tls = TestTLS.shared.server.apiServerConfiguration(applicationProtocols: ["h2"])
        tls.certificateVerification = .none
        let channel = try await server.bind(
            host: "127.0.0.1", port: 0, on: group, tls: NIOSSLContext(configuration: tls), principal: { _ in "load" })
        let body = FileManager.default.temporaryDirectory.appending(path: "esper-h2load-\(getpid())")
        try Data([0, 0, 0, 1, 0] + [UInt8](repeating: 7, count: 256)).write(to: body)
        defer { try? FileManager.default.removeItem(at: body) }
        let requests = clients == 1 ? Self.requests / 10 : Self.requests
        let (status, output) = try await Command.run(
            "h2load",
            [
                "-n", "\(requests)", "-c", "\(clients)", "-m", "\(streams)", "-t", "1", "-d", body.path,
                "-H", "te: trailers", "-H", "content-type: application/grpc",
                "https://127.0.0.1:\(channel.localAddress?.port ?? 0)/test.Echo/unary",
            ])
        #expect(status == 0)
        #expect(output.contains("\(requests) done, \(requests) succeeded, 0 failed, 0 errored, 0 timeout"), "\(output)")
        #expect(service.seen.batches.reduce(0, +) == requests)
        if ProcessInfo.processInfo.environment["ESPER_H2LOAD_REQUESTS"] != nil { print(output) }
        try await channel.close()
        try await group.shutdownGracefully()
    }
}

/// Runs a program to its end, on a thread of its own.
private enum Command {
    static func run(_ name: String, _ arguments: [String]) async throws -> (Int32, String) {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [name] + arguments
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

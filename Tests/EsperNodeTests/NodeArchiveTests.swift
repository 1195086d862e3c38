import EsperNode
import Foundation
import Logging
import NIOPosix
import ObjectStore
import Testing

@Suite(.timeLimit(.minutes(1))) struct NodeArchiveTests {
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let path = NSTemporaryDirectory() + "esper-archive-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(path)
    }

    private func open(_ archive: NodeSettings.Archive) async throws(StartError) -> any ObjectStore {
        try await NodeArchive.open(archive, on: MultiThreadedEventLoopGroup.singleton, logger: logger)
    }

    @Test func `a directory is made and opened`() async throws {
        try await withDirectory { path in
            let store = try await open(.directory(path + "/archive"))
            await store.shutdown()
            #expect(FileManager.default.fileExists(atPath: path + "/archive/objects"))
            #expect(FileManager.default.createFile(atPath: path + "/file", contents: nil))
            let error = await #expect(throws: StartError.self) { try await open(.directory(path + "/file")) }
            #expect(error?.message.hasPrefix("cache.archive") == true)
        }
    }

    @Test(arguments: [
        ("secret", 0o600, true), ("secret\n", 0o600, true), (" secret \r\n", 0o400, true), ("secret\n", 0o644, false),
        ("", 0o600, false), ("\n", 0o600, false), ("two words", 0o600, false), ("two\nlines\n", 0o600, false),
    ])
    func `a file holds one secret, for its owner alone`(text: String, mode: Int, isGood: Bool) async throws {
        try await withDirectory { path in
            let file = path + "/secret"
            let isMade = FileManager.default.createFile(
                atPath: file, contents: Data(text.utf8), attributes: [.posixPermissions: mode])
            #expect(isMade)
            // Nobody is asked over the network: nothing listens there.
            let settings = NodeSettings.S3(
                endpoint: try #require(S3Endpoint("http://127.0.0.1:9")), bucket: "kernels", region: "us-east-1",
                accessKey: "us", secretKeyFile: file)
            do {
                let store = try await open(.s3(settings))
                #expect(isGood)
                await store.shutdown()
            } catch {
                #expect(!isGood, "\(error)")
                #expect(!"\(error)".contains("two"))
            }
        }
    }

    @Test func `files that are not there are named`() async throws {
        let settings = NodeSettings.S3(
            endpoint: try #require(S3Endpoint("http://127.0.0.1:9")), bucket: "kernels", region: "us-east-1",
            accessKey: "us", secretKeyFile: "/nowhere/secret")
        let error = await #expect(throws: StartError.self) { try await open(.s3(settings)) }
        #expect(error?.message.contains("/nowhere/secret") == true)
    }
}

import EsperTypes
import Identity
package import Logging
package import NIOCore
import NIOPosix
package import ObjectStore
import RaftRuntime

/// The archive of the kernel cache, as the settings describe it.
package enum NodeArchive {
    /// Opens the store behind the archive: makes the directory, or reads the files with the secrets. Asks no store over the
    /// network.
    ///
    /// The caller ends it with ``ObjectStore/shutdown()``.
    ///
    /// - Throws: ``StartError``.
    package static func open(
        _ archive: NodeSettings.Archive, on group: any EventLoopGroup, logger: Logger
    ) async throws(StartError) -> any ObjectStore {
        do {
            return try await NIOThreadPool.singleton.runIfActive {
                switch archive {
                case .directory(let path): try DirectoryStore(at: path, now: { NodeClock.now() })
                case .s3(let settings): try open(settings, on: group, logger)
                }
            }
        } catch {
            throw StartError(message: "cache.archive: \(error)")
        }
    }

    private static func open(
        _ settings: NodeSettings.S3, on group: any EventLoopGroup, _ logger: Logger
    ) throws -> any ObjectStore {
        let secretKey = try secret(settings.secretKeyFile)
        let sessionToken = try settings.sessionTokenFile.map { try secret($0) }
        return try S3Store(
            settings.store(secretKey: secretKey, sessionToken: sessionToken), on: group, now: { NodeClock.now() },
            wall: { NodeClock.wallNanoseconds() }, random: SystemRandomNumberGenerator(), logger: logger)
    }

    /// What the file holds, without the blanks and ends of lines around it.
    private static func secret(_ file: String) throws -> String {
        let text = try PEMFile.readSecret(file)
        let words = text.split(whereSeparator: \.isWhitespace)
        guard words.count == 1 else { throw StartError(message: "\(file) must hold one secret on one line") }
        return String(words[0])
    }
}

extension NodeSettings.S3 {
    /// With the secrets that the files hold.
    func store(secretKey: String, sessionToken: String?) -> S3Settings {
        var store = S3Settings(
            endpoint: endpoint, bucket: bucket, region: region,
            credentials: S3Credentials(accessKey: accessKey, secretKey: secretKey, sessionToken: sessionToken))
        store.prefix = prefix
        store.authorityFile = authorityFile
        store.isPathStyle = isPathStyle
        store.allowsPlaintext = isInsecure
        return store
    }
}

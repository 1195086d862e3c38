import EsperTypes
import FoundationEssentials
import Identity
import KernelCache
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import RaftRuntime
import RedisDoor

/// The door for clients of Redis: opened with what its files say, and told of new ones.
extension NodeCache {
    /// - Throws: ``StartError`` that names the file or the setting.
    static func openRedisDoor(
        _ settings: NodeSettings, _ node: NodeHandle, _ service: CacheService, _ memory: MemoryTier,
        _ credentials: TLSCredentials, on group: any EventLoopGroup, _ logger: Logger
    ) async throws -> RedisDoor? {
        guard let door = settings.cache.redisDoor else { return nil }
        let files = try await RedisDoorFiles.read(door, settings.tls, credentials)
        var options = RedisDoorOptions(host: door.address.host, port: door.address.port, users: files.users)
        options.valueBytes = door.valueBytes
        options.answerWithin = door.answerWithin
        let facts = DoorFacts(
            esperVersion: ClusterNode.version, nodeName: settings.name, nodeID: node.nodeID.rawValue,
            clusterID: "\(settings.clusterID)",
            memory: {
                let statistics = memory.stat()
                return (Int(statistics.accountedBytes), Int(statistics.limitBytes))
            })
        if door.tls == nil, !door.address.isLoopback {
            logger.warning(
                "clients of Redis are served in plaintext beyond loopback; their passwords and values can be read on the way",
                metadata: ["address": "\(door.address)"])
        }
        do {
            return try await RedisDoor.start(
                options, cache: service, hashes: KeyspaceHashes(node), tls: files.tls,
                clock: DoorClock(now: { NodeClock.now() }, wall: { NodeClock.wallNanoseconds() }), facts: facts,
                on: group, logger: logger)
        } catch let error as IOError {
            throw StartError(
                message: "cache.redis_door.address \(door.address) cannot be listened on: \(error); choose another")
        }
    }

    /// Reads the door's files again.
    ///
    /// - Returns: what puts them in force; nil without a door.
    /// - Throws: ``StartError``; nothing has changed then.
    func reloadRedisDoor(
        _ settings: NodeSettings, _ credentials: TLSCredentials
    ) async throws -> (@Sendable () throws -> Void)? {
        guard let redisDoor, let door = settings.cache.redisDoor else { return nil }
        let files = try await RedisDoorFiles.read(door, settings.tls, credentials)
        return {
            if let tls = files.tls { try redisDoor.update(tls) }
            redisDoor.update(files.users)
        }
    }
}

/// What the files of a Redis door say.
private struct RedisDoorFiles: Sendable {
    var users: [RedisUser]
    /// Nil: plain text.
    var tls: RedisDoorTLS?

    static func read(
        _ door: NodeSettings.RedisDoor, _ tls: NodeSettings.TLS, _ credentials: TLSCredentials
    ) async throws -> RedisDoorFiles {
        try await NIOThreadPool.singleton.runIfActive {
            RedisDoorFiles(users: try users(of: door), tls: try door.tls.map { try read($0, tls, credentials) })
        }
    }

    private static func users(of door: NodeSettings.RedisDoor) throws -> [RedisUser] {
        guard let path = door.usersFile else { return [] }
        let text: String
        do {
            text = try PEMFile.read(path)
        } catch {
            throw StartError(message: "cache.redis_door.users_file: \(error)")
        }
        let users: [RedisUser]
        do throws(InvalidSettings) {
            users = try RedisUsersFile.read(text, named: path)
        } catch {
            throw StartError(
                message: "cache.redis_door.users_file: " + error.problems.map(\.description).joined(separator: "; "))
        }
        let isProven = door.tls?.requiresCertificates ?? false
        for user in users where user.isOpen && user.rights.contains(.write) && !door.address.isLoopback && !isProven {
            throw StartError(
                message: "cache.redis_door.users_file: \(path): '\(user.name)' may write without a password; beyond "
                    + "loopback give it one, or rights: read, or require client_certificates")
        }
        return users
    }

    private static func read(
        _ door: NodeSettings.RedisDoor.TLS, _ tls: NodeSettings.TLS, _ credentials: TLSCredentials
    ) throws -> RedisDoorTLS {
        RedisDoorTLS(
            credentials: credentials, shown: try door.shown.map { try read($0) },
            requiresCertificates: door.requiresCertificates, acceptsTLS12: tls.clientMinimum == .tls12)
    }

    private static func read(_ files: NodeSettings.RedisDoor.Shown) throws -> RedisDoorTLS.Shown {
        let chain: [NIOSSLCertificate]
        do {
            chain = try NIOSSLCertificate.fromPEMFile(files.certificate)
        } catch {
            throw StartError(
                message: "cache.redis_door.certificate: \(files.certificate) holds no PEM certificates: \(error)")
        }
        let key: NIOSSLPrivateKey
        do {
            key = try NIOSSLPrivateKey(file: files.privateKey, format: .pem)
        } catch {
            throw StartError(
                message: "cache.redis_door.private_key: \(files.privateKey) holds no PEM private key: \(error)")
        }
        return RedisDoorTLS.Shown(chain: chain, key: key)
    }
}

extension RedisUser {
    /// Comes in with a name alone.
    fileprivate var isOpen: Bool { if case .none = password { true } else { false } }
}

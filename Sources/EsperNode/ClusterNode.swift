import APIDoor
import Coordination
import EsperTypes
import EtcdDoor
import FoundationEssentials
import GRPCTransport
import Identity
public import Logging
import NIOCore
import NIOPosix
public import Observability
import PeerTransport
import RaftCore
import RaftRuntime
import RaftStorage
import Synchronization

/// One node of the cluster: everything from the data directory to the API port, started and stopped in order.
///
/// Start: data directory, credentials, consensus with its links, catalog, doors. Stop is the reverse: the node leaves
/// `ready`, hands leadership over, lets calls finish, closes doors and links, and syncs the log last.
public final class ClusterNode: Sendable {
    public static let version = "0.1.0"

    private let settings: NodeSettings
    private let logger: Logger
    private let coreGroup: MultiThreadedEventLoopGroup
    private let doorGroup: MultiThreadedEventLoopGroup
    private let directory: DataDirectory
    private let handle: NodeHandle
    private let server: GRPCServer
    private let listener: APIListener
    private let probe: ProbeListener?
    private let catalog: NodeCatalog?
    private let cache: NodeCache?
    private let enrollment: NodeEnrollment?
    private let certifier: MemberCertifier?
    private let expiry: CertificateExpiry
    /// Cancelled and awaited by ``stop()``.
    private let renewing = Mutex<Task<Void, Never>?>(nil)
    /// The last reload that was begun; the next one waits for it.
    private let reloading = Mutex<Task<Void, Never>?>(nil)
    private let expiryCheck: RepeatedTask

    /// Starts the node; returns when it listens for peers and clients, which is before it is ready.
    ///
    /// - Parameter initializes: this is the node's first start ever: makes the data directory, and refuses one that is
    ///   there. Otherwise one that is not there is refused.
    /// - Throws: ``StartError`` with one line that says what to do.
    public static func start(
        _ settings: NodeSettings, initializes: Bool, registry: PrometheusRegistry, logger: Logger
    ) async throws -> ClusterNode {
        let coreGroup = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let doorGroup = DoorGroup.make()
        do {
            let node = try await ClusterNode(settings, initializes, registry, logger, coreGroup, doorGroup)
            node.beginRenewing()
            return node
        } catch {
            try? await coreGroup.shutdownGracefully()
            try? await doorGroup.shutdownGracefully()
            throw StartError(error)
        }
    }

    private init(
        _ settings: NodeSettings, _ initializes: Bool, _ registry: PrometheusRegistry, _ logger: Logger,
        _ coreGroup: MultiThreadedEventLoopGroup,
        _ doorGroup: MultiThreadedEventLoopGroup
    ) async throws {
        self.settings = settings
        self.logger = logger
        self.coreGroup = coreGroup
        self.doorGroup = doorGroup
        let credentials = try Self.credentials(settings)
        let opened = try await NIOThreadPool.singleton.runIfActive {
            try OpenedDirectory(settings, initializes: initializes)
        }
        directory = opened.directory
        if let torn = opened.recovered.log.tornTail {
            logger.info(
                "an unfinished write was cut off the log",
                metadata: ["path": "\(torn.path)", "offset": "\(torn.offset)"])
        }
        let health = Health()
        let probes = HealthRegistry()
        let events = NodeEvents(logger, health, probes)
        // Before the node takes part in anything: between that and its open doors there is to be as little as possible.
        let blobs = try await NodeCache.openDirectory(settings, on: doorGroup.any())
        handle = try await NodeHandle.start(
            Self.parts(settings, opened, credentials, logger), on: coreGroup.any(), observer: events)
        catalog = try NodeCatalog(settings, node: handle, events: events, health: health, logger: logger)
        enrollment = try await NodeEnrollment.start(
            settings, credentials: credentials, node: handle, on: doorGroup, logger: logger)
        certifier = try await MemberCertifier.start(settings, node: handle, logger: logger)
        let facts: @Sendable () -> NodeFacts = { [catalog, enrollment] in
            NodeFacts(catalog: catalog?.state ?? .disabled, enrollment: enrollment?.offer)
        }
        cache = try await NodeCache.start(
            settings, disk: blobs, node: handle, credentials: credentials, on: doorGroup, logger: logger)
        if let redisDoor = cache?.redisDoor { events.attach(redisDoor) }
        let door = try await GRPCDoor(node: handle, group: doorGroup, facts: facts)
        let etcd = try await EtcdDoor(node: handle, group: doorGroup)
        server = GRPCServer(
            services: [
                (door, GRPCDoor.methods(development: settings.development)), (etcd, EtcdDoor.methods),
                (try GRPCDoor.reflection(with: [EtcdDoor.descriptors]), ReflectionService.methods),
            ] + (cache?.services ?? []), health: probes, options: GRPCDoor.transportOptions)
        var options = APIOptions(host: settings.listenAPI.host, port: settings.listenAPI.port)
        options.acceptsTLS12 = settings.tls.clientMinimum == .tls12
        let http = HTTPDoor(
            node: handle, health: health, registry: registry, facts: facts, options: options,
            gateway: EtcdGateway(door: etcd), cache: cache?.service, logger: logger)
        listener = try await APIListener.start(
            options, credentials: credentials, door: http, on: doorGroup, logger: logger, date: { Date() },
            attachHTTP2: { [server] channel, principal in try server.attach(to: channel, principal: principal) })
        if let place = settings.listenProbe {
            probe = try await ProbeListener.start(
                host: place.host, port: place.port, door: http, on: doorGroup, logger: logger)
        } else {
            probe = nil
        }
        let expiry = CertificateExpiry(credentials, logger: logger)
        self.expiry = expiry
        expiryCheck = doorGroup.any().scheduleRepeatedTask(initialDelay: .zero, delay: .minutes(1)) { _ in
            expiry.check(Date())
        }
        logger.notice(
            "node started",
            metadata: [
                "node.id": "\(settings.member.id)", "peer": "\(settings.listenPeer)", "api": "\(settings.listenAPI)",
                "enroll": "\(settings.enrollment?.address.description ?? "none")", "version": "\(Self.version)",
            ])
    }

    private func beginRenewing() {
        let renewal = CertificateRenewal(handle, settings, expiry, certifier, logger) { [weak self] in
            await self?.reloadCertificates()
        }
        renewing.withLock { $0 = Task { await renewal.run() } }
    }

    /// Reads the certificate files again, for connections from now on; those that stand keep what they have.
    ///
    /// Files that are no good, or that are for another node, change nothing. Two reloads come one after the other, so that the
    /// later files stay in force.
    public func reloadCertificates() async {
        let turn = reloading.withLock { last in
            let previous = last
            let turn = Task {
                await previous?.value
                await self.readCertificates()
            }
            last = turn
            return turn
        }
        await turn.value
    }

    private func readCertificates() async {
        do {
            let credentials = try await NIOThreadPool.singleton.runIfActive { [settings] in
                try Self.credentials(settings)
            }
            // Both change or neither: whatever is wrong with the files is found before the first.
            try listener.check(credentials)
            let putEnrollmentInForce = try await enrollment?.reload(credentials)
            let putCertifierInForce = try await certifier?.reload()
            let putRedisDoorInForce = try await cache?.reloadRedisDoor(settings, credentials)
            try await handle.updateCredentials(credentials)
            try cache?.updateCredentials(credentials)
            try listener.updateCredentials(credentials)
            try putRedisDoorInForce?()
            putEnrollmentInForce?()
            putCertifierInForce?()
            logger.notice(
                "certificates reloaded",
                metadata: ["identity": "\(credentials.identity)", "valid.until": "\(credentials.notValidAfter)"])
            expiry.replaced(credentials, now: Date())
        } catch {
            logger.error(
                "the certificate files are no good; the old certificates stay in force", metadata: ["error": "\(error)"]
            )
        }
    }

    /// Stops in order, within the time that the settings give.
    public func stop() async {
        logger.notice("node stops", metadata: ["limit": "\(settings.shutdownTimeout)"])
        if settings.cache.drainTime > .zero {
            // While everything still works: somebody has to lead the moves.
            await cache?.handOver(within: settings.cache.drainTime)
        }
        let deadline = NIODeadline.now() + .nanoseconds(settings.shutdownTimeout.nanoseconds * 3 / 4)
        expiryCheck.cancel()
        let renewing = renewing.withLock { $0 }
        renewing?.cancel()
        await enrollment?.stop()
        cache?.drain()
        await handle.drain(within: settings.shutdownTimeout / 2)
        async let drained: Void = server.drain(deadline: deadline, on: doorGroup.any())
        await listener.stop(within: settings.shutdownTimeout / 4)
        await drained
        // Calls have ended or their time is over; a connection that lingers must not hold up the rest.
        listener.closeConnections()
        await probe?.stop()
        await cache?.stop(within: settings.shutdownTimeout / 4)
        await catalog?.stop()
        await handle.stop()
        await renewing?.value
        directory.close()
        try? await doorGroup.shutdownGracefully()
        try? await coreGroup.shutdownGracefully()
        logger.notice("node stopped")
    }

    private static func credentials(_ settings: NodeSettings) throws -> TLSCredentials {
        let credentials = try TLSCredentials(
            certificateFile: settings.tls.certificate, privateKeyFile: settings.tls.privateKey,
            authorityFile: settings.tls.authority, now: Date())
        try check(credentials.identity, against: settings)
        return credentials
    }

    private static func check(_ identity: SPIFFEID, against settings: NodeSettings) throws {
        let expected = try SPIFFEID(trustDomain: settings.tls.trustDomain, role: .node, name: settings.name)
        guard identity == expected else {
            throw StartError(
                message: "\(settings.tls.certificate) is for \(identity), but this node is \(expected); "
                    + "use this node's certificate, or set tls.trust_domain")
        }
    }

    private static func parts(
        _ settings: NodeSettings, _ opened: OpenedDirectory, _ credentials: TLSCredentials, _ logger: Logger
    ) -> NodeParts {
        var options = RuntimeOptions()
        options.raft.heartbeatInterval = settings.raft.heartbeat
        options.raft.electionTimeout = settings.raft.electionTimeout
        options.raft.readLease = settings.raft.readLease
        options.raft.holderLease = settings.raft.holderLease
        options.raft.snapshotBytesPerSecond = settings.raft.snapshotBytesPerSecond
        options.snapshotAfterBytes = settings.raft.snapshotAfterBytes
        options.scrubInterval = settings.raft.scrubInterval
        options.scrubBytesPerSecond = settings.raft.scrubBytesPerSecond
        options.historyRevisions = settings.historyRevisions
        options.divergesAt = settings.divergesAt
        var random = SystemRandomNumberGenerator()
        return NodeParts(
            name: settings.name, version: version,
            members: settings.members.map {
                ClusterMember(
                    id: $0.id, name: $0.name, peerHost: $0.peer.host, peerPort: $0.peer.port,
                    apiAddress: $0.api.description, zone: $0.zone)
            },
            directory: opened.directory, recovered: opened.recovered, credentials: credentials,
            // Nobody would take the records of sessions, locks and the like, and once there is no room for more of them all is refused.
            settings: CoordinationSettings(
                auditsCoordination: settings.catalog.connection != nil,
                auditedPrefixes: settings.outbox.auditPrefixes.map { [UInt8]($0.utf8) },
                maximumOutboxRecords: settings.outbox.maximumRecords),
            options: options,
            peerOptions: PeerOptions(host: settings.listenPeer.host, port: settings.listenPeer.port),
            seed: random.next(), logger: logger, date: { Date() })
    }
}

/// The data directory as a start finds or makes it. Blocks while it reads the log.
private struct OpenedDirectory: Sendable {
    var directory: DataDirectory
    var recovered: RecoveredNode

    init(_ settings: NodeSettings, initializes: Bool) throws {
        let options = StorageOptions(segmentBytes: settings.raft.segmentBytes)
        let entropy: @Sendable () -> UInt64 = {
            var random = SystemRandomNumberGenerator()
            return random.next()
        }
        let fileSystem = POSIXFileSystem()
        let exists = try DataDirectory.exists(settings.dataDirectory, in: fileSystem)
        if exists, initializes {
            throw StartError(
                message:
                    "the data directory \(settings.dataDirectory) is initialized already; start without --initialize")
        }
        if !exists {
            // To begin empty under a name that has voted is to vote twice: it must be said, never guessed.
            guard initializes else {
                throw StartError(
                    message: "the data directory \(settings.dataDirectory) holds no data: if this node never ran, add "
                        + "--initialize to its first start; if it did, its disk is missing or was emptied, and a start "
                        + "without it would forget votes and entries that others count on: bring the directory back")
            }
            try DataDirectory.create(
                settings.dataDirectory,
                identity: StorageIdentity(
                    cluster: settings.clusterID, node: settings.member.id, incarnation: Incarnation(entropy())),
                configuration: Configuration(voters: settings.members.filter { !$0.joins }.map(\.id)), in: fileSystem,
                options: options,
                entropy: entropy)
        }
        directory = try DataDirectory.open(
            settings.dataDirectory, cluster: settings.clusterID, node: settings.member.id, in: fileSystem,
            options: options, entropy: entropy)
        do {
            recovered = try directory.recoverNode()
        } catch {
            directory.close()
            throw error
        }
    }
}

/// Why a node did not start, in one line for the operator.
public struct StartError: Error, CustomStringConvertible {
    public var message: String

    init(message: String) { self.message = message }

    init(_ error: any Error) {
        switch error {
        case let error as StartError: message = error.message
        case let error as StorageError: message = "\(error). \(error.advice)"
        default: message = "\(error)"
        }
    }

    public var description: String { message }
}

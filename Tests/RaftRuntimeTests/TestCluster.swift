import Coordination
import EsperTypes
import Foundation
import Identity
import Logging
import NIOCore
import NIOPosix
import PeerTransport
import RaftCore
import RaftRuntime
import RaftStorage
import Synchronization
import TestSupport

/// Whole runtimes over real TLS, real files and loopback, several of them in this process.
final class TestCluster: Sendable {
    struct Running: Sendable {
        var handle: NodeHandle
        var directory: DataDirectory
        var observer: RecordingObserver
    }

    /// The founders.
    let names: [String]
    let spareNames: [String]
    private let ports: [Int]
    private let root: String
    private let authority: CertificateAuthority
    private let group: MultiThreadedEventLoopGroup
    private let running = Mutex<[String: Running]>([:])
    private let disks = Mutex<[String: StallableFileSystem]>([:])
    private let options: RuntimeOptions
    private let storage: StorageOptions
    private let adjust: @Sendable (String, inout RuntimeOptions) -> Void
    private let unaudited: Set<String>

    static let clusterID = ClusterID(0xc1)

    /// - Parameters:
    ///   - spares: nodes beyond the founders, for whoever wants to add them; they are not started.
    ///   - unaudited: nodes whose settings know no catalog.
    ///   - adjust: what one node has otherwise than the rest.
    init(
        _ count: Int, spares: Int = 0, options: RuntimeOptions = RuntimeOptions(),
        storage: StorageOptions = StorageOptions(segmentBytes: 1 << 20), unaudited: Set<String> = [],
        adjust: @escaping @Sendable (String, inout RuntimeOptions) -> Void = { _, _ in }
    ) async throws {
        names = (1...count).map { "n\($0)" }
        spareNames = (count..<count + spares).map { "n\($0 + 1)" }
        root = NSTemporaryDirectory() + "/esper-runtime-\(UInt64.random(in: 0 ... .max))"
        authority = try CertificateAuthority(newFor: "test.local", validFor: 3600, now: Date())
        group = MultiThreadedEventLoopGroup(numberOfThreads: count + spares)
        self.options = options
        self.storage = storage
        self.unaudited = unaudited
        self.adjust = adjust
        ports = try FreePorts.take(count + spares)
    }

    /// Runs `body` with every node started; stops them and removes the files, also when it fails.
    static func run(
        _ count: Int, spares: Int = 0, options: RuntimeOptions = RuntimeOptions(),
        storage: StorageOptions = StorageOptions(segmentBytes: 1 << 20), unaudited: Set<String> = [],
        adjust: @escaping @Sendable (String, inout RuntimeOptions) -> Void = { _, _ in },
        _ body: (TestCluster) async throws -> Void
    ) async throws {
        let cluster = try await TestCluster(
            count, spares: spares, options: options, storage: storage, unaudited: unaudited, adjust: adjust)
        do {
            for name in cluster.names { try await cluster.start(name) }
            try await body(cluster)
        } catch {
            await cluster.shutdown()
            throw error
        }
        await cluster.shutdown()
    }

    subscript(name: String) -> NodeHandle {
        guard let node = running.withLock({ $0[name] }) else { preconditionFailure("\(name) is not running") }
        return node.handle
    }

    func observer(of name: String) -> RecordingObserver {
        guard let node = running.withLock({ $0[name] }) else { preconditionFailure("\(name) is not running") }
        return node.observer
    }

    /// Those that are complete on its disk.
    func snapshots(of name: String) throws -> [SnapshotDescriptor] {
        try running.withLock { $0[name] }?.directory.snapshots.list() ?? []
    }

    /// The same over restarts.
    func disk(of name: String) -> StallableFileSystem {
        disks.withLock { disks in
            let disk = disks[name] ?? StallableFileSystem()
            disks[name] = disk
            return disk
        }
    }

    /// - Parameter replays: false: what the log holds is applied by the core loop alone.
    func start(_ name: String, replays: Bool = true) async throws {
        let path = root + "/" + name
        let all = names + spareNames
        let id = NodeID(UInt64(all.firstIndex(of: name)! + 1))
        let entropy: @Sendable () -> UInt64 = { UInt64.random(in: 1 ... .max) }
        let disk = disk(of: name)
        if try !DataDirectory.exists(path, in: disk) {
            try DataDirectory.create(
                path,
                identity: StorageIdentity(cluster: Self.clusterID, node: id, incarnation: Incarnation(entropy())),
                configuration: Configuration(voters: names.indices.map { NodeID(UInt64($0 + 1)) }), in: disk,
                options: storage, entropy: entropy)
        }
        let directory = try DataDirectory.open(path, in: disk, options: storage, entropy: entropy)
        var recovered = try directory.recoverNode()
        if !replays { recovered.replay = nil }
        let issued = try authority.issue(.node, name: name, hosts: ["127.0.0.1"], validFor: 3600, now: Date())
        var runtime = self.options
        runtime.retainedTailBytes = 1 << 20
        runtime.sessionGrace = .milliseconds(100)
        adjust(name, &runtime)
        let observer = RecordingObserver()
        let parts = NodeParts(
            name: name, version: "test",
            members: all.enumerated().filter { $0.offset < names.count || $0.element == name }.map {
                ClusterMember(
                    id: NodeID(UInt64($0.offset + 1)), name: $0.element, peerHost: "127.0.0.1",
                    peerPort: ports[$0.offset], apiAddress: "\($0.element).test:1", zone: "")
            },
            directory: directory, recovered: recovered,
            credentials: try TLSCredentials(
                certificatePEM: issued.certificatePEM, privateKeyPEM: issued.privateKeyPEM,
                authorityPEM: authority.certificatePEM, now: Date()),
            settings: CoordinationSettings(auditsCoordination: !unaudited.contains(name)), options: runtime,
            peerOptions: PeerOptions(host: "127.0.0.1", port: ports[Int(id.rawValue) - 1]), seed: entropy(),
            logger: Logger(label: name) { _ in SwiftLogNoOpLogHandler() }, date: { Date() })
        let eventLoop = Array(group.makeIterator())[Int(id.rawValue) - 1]
        let handle = try await NodeHandle.start(parts, on: eventLoop, observer: observer)
        running.withLock { $0[name] = Running(handle: handle, directory: directory, observer: observer) }
    }

    /// A node that is to join, as an operator would describe it.
    func newMember(_ name: String) -> NewMember {
        let position = (names + spareNames).firstIndex(of: name)!
        return NewMember(
            name: name, peer: HostPort(host: "127.0.0.1", port: ports[position]),
            api: HostPort(host: "\(name).test", port: 1))
    }

    /// Starts a stopped node with an empty disk.
    func wipe(_ name: String) throws { try FileManager.default.removeItem(atPath: root + "/" + name) }

    @discardableResult
    func change(_ changes: [MemberChange], on name: String, timeout: Duration = .seconds(20)) async throws
        -> MembershipReply
    {
        switch await self[name].call(.changeMembers(changes), principal: "client/operator", timeout: timeout) {
        case .membersChanged(let reply): return reply
        case .failed(let failure): throw failure
        case let other: throw Unexpected(body: "\(other)")
        }
    }

    func status(of name: String) async throws -> ClusterStatus {
        switch await self[name].call(.status, principal: "test", timeout: .seconds(5)) {
        case .status(let status): return status
        case let other: throw Unexpected(body: "\(other)")
        }
    }

    /// Drops all that it and its peers say to each other; their links stand.
    func isolate(_ name: String) async throws {
        let body = await self[name].call(.isolate(fromPeers: []), principal: "test", timeout: .seconds(5))
        guard case .done = body else { throw Unexpected(body: "\(body)") }
    }

    func heal(_ name: String) async throws {
        let body = await self[name].call(.heal, principal: "test", timeout: .seconds(5))
        guard case .done = body else { throw Unexpected(body: "\(body)") }
    }

    func stop(_ name: String) async {
        guard let node = running.withLock({ $0.removeValue(forKey: name) }) else { return }
        await node.handle.stop()
        node.directory.close()
    }

    private func shutdown() async {
        for name in names + spareNames { await stop(name) }
        try? await group.shutdownGracefully()
        try? FileManager.default.removeItem(atPath: root)
    }

    /// The leader that a running node knows, once there is one.
    func leader(otherThan excluded: String? = nil) async throws -> String {
        try await eventually("a leader other than \(excluded ?? "nobody")") {
            for name in names where running.withLock({ $0[name] }) != nil {
                if case .status(let status) = await self[name].call(.status, principal: "test", timeout: .seconds(1)),
                    let leader = status.leader, leader != excluded
                {
                    return leader
                }
            }
            return nil
        }
    }

    func readiness(of name: String) async throws -> Readiness? {
        guard case .status(let status) = await self[name].call(.status, principal: "test", timeout: .seconds(1)) else {
            return nil
        }
        return status.readiness
    }

    func follower() async throws -> String {
        let leader = try await leader()
        guard let follower = names.first(where: { name in name != leader && running.withLock { $0[name] != nil } })
        else {
            throw Unexpected(body: "no follower is running")
        }
        return follower
    }

    // MARK: - Requests

    @discardableResult
    func command(
        _ command: Command, on name: String, request: RequestID? = nil, timeout: Duration = .seconds(20)
    ) async throws -> CommandReply {
        switch await self[name].call(.command(command, request), principal: "client/test", timeout: timeout) {
        case .command(let reply): return reply
        case .failed(let failure): throw failure
        case let other: throw Unexpected(body: "\(other)")
        }
    }

    func put(_ key: String, _ value: String, on name: String) async throws {
        try await command(.put(.init(key: Array(key.utf8), value: Array(value.utf8))), on: name)
    }

    func get(_ key: String, on name: String, linearizable: Bool = true) async throws -> String? {
        let found = try await read(
            .range(RangeRequest(.key(Array(key.utf8)))), on: name, linearizable: linearizable)
        guard case .range(let range) = found else { throw Unexpected(body: "\(found)") }
        return range.keyValues.first.map { String(decoding: $0.value, as: UTF8.self) }
    }

    func read(_ query: Query, on name: String, linearizable: Bool = true) async throws -> QueryResult {
        switch await self[name].call(
            .query(query, linearizable: linearizable), principal: "client/test", timeout: .seconds(20))
        {
        case .query(let reply): return reply.result
        case .failed(let failure): throw failure
        case let other: throw Unexpected(body: "\(other)")
        }
    }

    func session(ttl: Duration, on name: String) async throws -> SessionID {
        guard case .sessionGranted(let session, _) = try await command(.grantSession(ttl: ttl), on: name).result else {
            throw Unexpected(body: "no session")
        }
        return session
    }

    func keepAlive(_ session: SessionID, on name: String) async throws -> Duration {
        switch await self[name].call(.keepAlive(session), principal: "client/test", timeout: .seconds(20)) {
        case .keptAlive(let ttl): return ttl
        case .failed(let failure): throw failure
        case let other: throw Unexpected(body: "\(other)")
        }
    }

    /// Sessions in the queue of a lock, the holder first.
    func queue(of lock: String, on name: String) async throws -> [SessionID] {
        guard case .lock(let state) = try await read(.lock(name: lock, claims: 8), on: name) else {
            throw Unexpected(body: "no lock")
        }
        return state?.claims.map(\.session) ?? []
    }

    /// Until the table of members holds what the leader notes of them by itself, so that it has nothing more to write.
    func waitUntilQuiet(_ name: String) async throws {
        try await until("the member table complete") {
            guard case .members(let table) = try await read(.members, on: name) else { return false }
            return table.records.count >= names.count && table.records.allSatisfy { $0.incarnation != nil }
        }
    }

    struct Unexpected: Error { var body: String }
}

final class RecordingObserver: NodeObserver {
    let terms = Mutex<[Term?]>([])
    let readiness = Mutex<[Readiness]>([])
    let difference = Mutex<String?>(nil)
    let divergence = Mutex<StateDifference?>(nil)
    /// Nil: any may have changed.
    let changedNames = Mutex<[[NamedBinding]?]>([])

    func leadershipChanged(_ term: Term?) { terms.withLock { $0.append(term) } }
    func readinessChanged(_ readiness: Readiness) { self.readiness.withLock { $0.append(readiness) } }
    func storageFailed(_ error: StorageError) { preconditionFailure("the log failed: \(error)") }
    func statesCompared(difference: String?) { self.difference.withLock { $0 = difference } }
    func stateDiverged(_ difference: StateDifference) { divergence.withLock { $0 = difference } }
    func outboxGrew() {}
    func namesChanged(_ names: [NamedBinding]?) { changedNames.withLock { $0.append(names) } }
}

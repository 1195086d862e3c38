import EsperTypes
import FoundationEssentials
import Identity
import Logging
import NIOCore
import NIOPosix
import PeerTransport

/// A fixed moment for certificates, so that no test depends on the day it runs.
let today = Date(timeIntervalSince1970: 1_800_000_000)
let day: TimeInterval = 86_400

/// An authority and the certificates of one test.
struct Authority: Sendable {
    let authority: CertificateAuthority

    init() throws { authority = try CertificateAuthority(newFor: "esper.local", validFor: 100 * day, now: today) }

    /// - Parameter others: authorities to trust besides this one.
    func credentials(
        _ name: String, role: SPIFFEID.Role = .node, validFor period: TimeInterval = 10 * day,
        trusting others: [Authority] = []
    ) throws -> TLSCredentials {
        let issued = try authority.issue(role, name: name, validFor: period, now: today)
        let trusted = try ([self] + others).map { try $0.authority.certificatePEM }
        return try TLSCredentials(
            certificatePEM: issued.certificatePEM, privateKeyPEM: issued.privateKeyPEM,
            authorityPEM: trusted.joined(), now: today)
    }
}

/// One transport on an event loop of the shared group, with everything it reports.
final class TestNode: Sendable {
    static let cluster = ClusterID(0xc1)

    let id: NodeID
    let name: String
    let port: Int
    let observed: Observed
    let loop: any EventLoop
    private let transport: NIOLoopBound<PeerTransport>

    private init(
        _ id: NodeID, _ name: String, _ port: Int, _ observed: Observed, _ transport: NIOLoopBound<PeerTransport>,
        _ loop: any EventLoop
    ) {
        self.id = id
        self.name = name
        self.port = port
        self.observed = observed
        self.transport = transport
        self.loop = loop
    }

    /// Starts a node that listens on a free loopback port.
    ///
    /// - Parameters:
    ///   - incarnation: derived from the id unless given.
    ///   - change: adjusts the options.
    static func start(
        _ id: UInt64, _ credentials: TLSCredentials, cluster: ClusterID = TestNode.cluster, as name: String? = nil,
        incarnation: UInt64? = nil, members: [PeerMember] = [], port: Int = 0, now: Date = today,
        _ change: @Sendable @escaping (inout PeerOptions) -> Void = { _ in }
    ) async throws -> TestNode {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let observed = Observed()
        let (bound, address) = try await loop.flatSubmit {
            loop.makeCompletedFuture {
                var options = PeerOptions(host: "127.0.0.1", port: port)
                change(&options)
                let transport = try PeerTransport(
                    eventLoop: loop,
                    local: LocalPeer(
                        cluster: cluster, id: NodeID(id), incarnation: Incarnation(incarnation ?? id + 1000),
                        version: "test"),
                    credentials: credentials, members: members, options: options, seed: id,
                    logger: Logger(label: "test") { _ in RecordingLogHandler(observed: observed) }, now: { now })
                return NIOLoopBound(transport, eventLoop: loop)
            }.flatMap { (bound: NIOLoopBound<PeerTransport>) in
                bound.value.start(delegate: Recorder(observed)).map { (bound, $0) }
            }
        }.get()
        return TestNode(NodeID(id), name ?? credentials.identity.name, address.port!, observed, bound, loop)
    }

    var member: PeerMember { PeerMember(id: id, name: name, host: "127.0.0.1", port: port) }

    /// Runs on the loop of the node.
    func run<Value: Sendable>(_ body: @Sendable @escaping (PeerTransport) throws -> Value) async throws -> Value {
        try await loop.submit { [transport] in try body(transport.value) }.get()
    }

    func meet(_ others: TestNode...) async throws {
        let members = others.map(\.member)
        try await run { $0.updateMembers(members) }
    }

    func stop() async throws {
        try await loop.flatSubmit { [transport] in transport.value.stop() }.get()
    }

    /// The statistics of now.
    var statistics: PeerStatistics {
        get async throws { try await run { $0.statistics } }
    }

    func wait(_ what: String, until isMet: @escaping @Sendable (Observed.State) -> Bool) async throws {
        try await observed.wait(on: loop, for: "\(name): \(what)", until: isMet)
    }

    /// Waits until the link to `other` has come up for the `times`-th time.
    func waitUntilUp(_ other: TestNode, times: Int = 1) async throws {
        let id = other.id
        try await wait("link up to \(other.name)") { state in
            state.observations.count { $0 == .up(id) } >= times
        }
    }

    func waitForDown(_ other: TestNode) async throws {
        let id = other.id
        try await wait("link down to \(other.name)") { state in
            state.observations.contains { if case .down(id, _) = $0 { true } else { false } }
        }
    }

    /// Waits for a log line whose reason contains the text.
    func waitForLog(_ message: String, containing text: String) async throws {
        try await wait("log “\(message)” with “\(text)”") { state in
            state.observations.contains { observation in
                if case .log(message, let reason) = observation { reason.contains(text) } else { false }
            }
        }
    }
}

/// Introduces two nodes, the lower id first, and waits for both main links and both bulk links.
func connect(_ one: TestNode, _ two: TestNode) async throws {
    // The accepting end first, so that no dial comes before its name is known.
    try await two.meet(one)
    try await one.meet(two)
    try await one.waitUntilUp(two)
    try await two.waitUntilUp(one)
    for node in [one, two] {
        try await node.wait("bulk link") { state in
            state.observations.count { if case .log("peer link up", _) = $0 { true } else { false } } >= 2
        }
    }
}

extension TestNode {
    /// Asks the transport, once per turn of its loop, until the condition holds.
    func poll(_ what: String, until isMet: @Sendable @escaping (PeerTransport) -> Bool) async throws {
        let deadline = NIODeadline.now() + .seconds(10)
        while NIODeadline.now() < deadline {
            if try await run(isMet) { return }
        }
        throw Observed.DeadlineExceeded(description: "\(name): \(what)")
    }
}

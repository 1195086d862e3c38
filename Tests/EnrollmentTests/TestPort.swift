import Coordination
import Enrollment
import EsperTypes
import FoundationEssentials
import Identity
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A fixed moment, so that no test depends on the day it runs.
let today = Date(timeIntervalSince1970: 1_800_000_000)

/// An enrolment port with an authority of its own; what it decides is a script.
final class TestPort: Sendable {
    typealias Decide = @Sendable (EnrollmentRequest, CertificateAuthority) throws -> EnrollmentAnswer

    let authority: CertificateAuthority
    private let decide: Decide
    private let requests = Mutex<[EnrollmentRequest]>([])
    /// Set once, by ``run(_:_:)``.
    private let listening = Mutex<EnrollmentListener?>(nil)

    /// Serves while `body` runs.
    static func run(_ decide: @escaping Decide = certify, _ body: (TestPort) async throws -> Void) async throws {
        let port = TestPort(try CertificateAuthority(newFor: "esper.local", validFor: 1000, now: today), decide)
        let issued = try port.authority.issue(.node, name: "n1", hosts: ["localhost"], validFor: 100, now: today)
        let credentials = try TLSCredentials(
            certificatePEM: issued.certificatePEM, privateKeyPEM: issued.privateKeyPEM,
            authorityPEM: try port.authority.certificatePEM, now: today)
        let listener = try await EnrollmentListener.start(
            host: "127.0.0.1", port: 0,
            tls: try credentials.enrollmentServerConfiguration(
                authority: port.authority, applicationProtocols: [EnrollmentListener.applicationProtocol]),
            on: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, enroll: { port.answer($0) })
        port.listening.withLock { $0 = listener }
        let result: Result<Void, any Error>
        do {
            try await body(port)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await listener.stop()
        try result.get()
    }

    private init(_ authority: CertificateAuthority, _ decide: @escaping Decide) {
        self.authority = authority
        self.decide = decide
    }

    var number: Int { listening.withLock { $0?.port } ?? 0 }

    /// What was asked so far.
    var asked: [EnrollmentRequest] { requests.withLock { $0 } }

    private func answer(_ request: EnrollmentRequest) -> EnrollmentAnswer {
        requests.withLock { $0.append(request) }
        do {
            return try decide(request, authority)
        } catch {
            return .refused(EnrollmentRefusal(code: "test", message: "\(error)", isRetryable: false))
        }
    }

    /// Lets everybody in.
    static let certify: Decide = { request, authority in
        .enrolled(
            Enrolled(
                cluster: ClusterID(0xc1), node: NodeID(4), authoritiesPEM: try authority.certificatePEM,
                certificatePEM: try authority.issue(
                    try CertificateRequest(der: request.certificateRequest), validFor: 100, now: today),
                members: [
                    MemberRecord(
                        id: NodeID(1), name: "n1", peer: HostPort(host: "h", port: 1),
                        api: HostPort(host: "h", port: 2),
                        isEnrolled: true)
                ]))
    }

    // MARK: - Asking

    static let member = NewMember(
        name: "n4", peer: HostPort(host: "127.0.0.1", port: 7400), api: HostPort(host: "node4.internal", port: 7401))

    func token(fingerprint: [UInt8]? = nil, expires: UInt64 = 1_800_000_100, ports: [Int]? = nil) throws -> JoinToken {
        JoinToken(
            id: JoinTokenID(0xa1), secret: (0..<32).map { UInt8($0) },
            authorityFingerprint: try fingerprint ?? authority.fingerprint, cluster: ClusterID(0xc1), expires: expires,
            endpoints: (ports ?? [number]).map { HostPort(host: "127.0.0.1", port: $0) })
    }

    func enroll(by token: JoinToken, as member: NewMember = TestPort.member) async throws -> EnrollmentClient.Outcome {
        try await EnrollmentClient(
            token: token, member: member, privateKeyPEM: try PrivateKey.newPEM(), now: { today }
        ).enroll()
    }

    /// Sends bytes and collects what comes until the port closes the connection.
    func say(_ bytes: [UInt8], tls: Bool = true, protocols: [String] = ["esper-join/1"]) async throws -> [UInt8] {
        let context = try NIOSSLContext(configuration: .joining(applicationProtocols: protocols))
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let promise = loop.makePromise(of: [UInt8].self)
        let channel = try await ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if tls {
                        try channel.pipeline.syncOperations.addHandler(
                            NIOSSLClientHandler(
                                context: context, serverHostname: nil,
                                customVerificationCallback: { _, verdict in verdict.succeed(.certificateVerified) }))
                    }
                    try channel.pipeline.syncOperations.addHandler(Collector(promise))
                }
            }
            .connect(host: "127.0.0.1", port: number).get()
        channel.writeAndFlush(channel.allocator.buffer(bytes: bytes), promise: nil)
        return try await promise.futureResult.get()
    }

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private var bytes: [UInt8] = []
        private let promise: EventLoopPromise<[UInt8]>

        init(_ promise: EventLoopPromise<[UInt8]>) { self.promise = promise }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            bytes += unwrapInboundIn(data).readableBytesView
        }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
        func handlerRemoved(context: ChannelHandlerContext) { promise.succeed(bytes) }
    }
}

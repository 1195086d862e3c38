public import Coordination
internal import EsperTypes
public import FoundationEssentials
public import Identity
internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import NIOTLS

/// A host that asks to become a node: goes through a token's endpoints until one has decided.
///
/// Trusts nobody but the authority whose fingerprint is in the token, and sends the secret to nobody else.
public struct EnrollmentClient: Sendable {
    public let token: JoinToken
    public let member: NewMember
    /// DNS names and addresses that the certificate is to hold, next to the identity.
    public let hosts: [String]
    private let privateKeyPEM: String
    private let now: @Sendable () -> Date

    /// What the host has won.
    public struct Outcome: Sendable {
        public let enrolled: Enrolled
        public let identity: SPIFFEID
        public let notValidAfter: Date
    }

    /// - Parameter privateKeyPEM: the host's own key. Stays here.
    public init(
        token: JoinToken, member: NewMember, privateKeyPEM: String, now: @escaping @Sendable () -> Date
    ) {
        self.token = token
        self.member = member
        self.privateKeyPEM = privateKeyPEM
        self.now = now
        var hosts = [CertificateRequest.spelled(host: member.api.host)]
        let peer = CertificateRequest.spelled(host: member.peer.host)
        if peer != hosts[0] { hosts.append(peer) }
        self.hosts = hosts
    }

    /// Asks once, at each endpoint in turn until one decides.
    ///
    /// - Throws: ``EnrollmentRefusal``: what a node answered, or with code `unreachable`, `untrusted` or `malformed` why there
    ///   is no answer.
    public func enroll() async throws(EnrollmentRefusal) -> Outcome {
        let time = now().timeIntervalSince1970
        guard time < Double(token.expires) else {
            throw EnrollmentRefusal(
                code: "token_expired",
                message: "\(token) has expired, by this host's clock: 'esper cluster token create' makes another",
                isRetryable: false)
        }
        var failures: [EnrollmentRefusal] = []
        for endpoint in token.endpoints {
            let answer: EnrollmentAnswer
            do throws(EnrollmentRefusal) {
                answer = try await ask(endpoint)
            } catch {
                failures.append(error)
                continue
            }
            switch answer {
            case .enrolled(let enrolled): return try checked(enrolled)
            case .refused(let refusal):
                guard refusal.isRetryable else { throw refusal }
                failures.append(refusal)
            }
        }
        // Somebody who may decide otherwise later is better news than whoever cannot be reached.
        if let retryable = failures.first(where: \.isRetryable) { throw retryable }
        throw EnrollmentRefusal(
            code: failures[0].code, message: failures.map(\.message).joined(separator: "; "), isRetryable: false)
    }

    /// What the node sent must be what was asked for: a certificate for this key and name, of an authority that it sent too.
    private func checked(_ enrolled: Enrolled) throws(EnrollmentRefusal) -> Outcome {
        guard enrolled.cluster == token.cluster else {
            throw .untrusted("the node answered for the cluster \(enrolled.cluster), the token is of \(token.cluster)")
        }
        do throws(IdentityError) {
            let credentials = try TLSCredentials(
                certificatePEM: enrolled.certificatePEM, privateKeyPEM: privateKeyPEM,
                authorityPEM: enrolled.authoritiesPEM, now: now())
            guard credentials.identity.role == .node, credentials.identity.name == member.name else {
                throw IdentityError(.untrusted, "it is for \(credentials.identity)")
            }
            return Outcome(
                enrolled: enrolled, identity: credentials.identity, notValidAfter: credentials.notValidAfter)
        } catch {
            throw .untrusted("the certificate that the node sent is no good: \(error)")
        }
    }

    private static let connectTimeout = TimeAmount.seconds(3)
    /// Longer than a node takes to decide.
    private static let exchangeTimeout = TimeAmount.seconds(15)

    private func ask(_ endpoint: HostPort) async throws(EnrollmentRefusal) -> EnrollmentAnswer {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.any()
        let answer = eventLoop.makePromise(of: EnrollmentAnswer.self)
        let timer = eventLoop.scheduleTask(in: Self.exchangeTimeout) {
            answer.fail(EnrollmentRefusal.unreachable(endpoint, "no answer in time"))
        }
        defer { timer.cancel() }
        do {
            let context = try NIOSSLContext(
                configuration: .joining(applicationProtocols: [EnrollmentFrame.applicationProtocol]))
            let channel = try await ClientBootstrap(group: eventLoop)
                .connectTimeout(Self.connectTimeout)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let exchange = EnrollmentExchange(endpoint: endpoint, answer: answer) { identity in
                            try request(for: identity)
                        }
                        let tls = try NIOSSLClientHandler(
                            context: context, serverHostname: nil,
                            customVerificationCallback: exchange.verifier(
                                PinnedAuthority(fingerprint: token.authorityFingerprint), now: now))
                        try channel.pipeline.syncOperations.addHandlers(tls, exchange)
                    }
                }
                .connect(host: endpoint.host, port: endpoint.port).get()
            defer { channel.close(promise: nil) }
            return try await answer.futureResult.get()
        } catch let refusal as EnrollmentRefusal {
            throw refusal
        } catch {
            let refusal = EnrollmentRefusal.unreachable(endpoint, "\(error)")
            // Nobody else completes it when the connection was never made.
            answer.fail(refusal)
            throw refusal
        }
    }

    /// - Parameter server: the node that answers; the new one is of its trust domain.
    private func request(for server: SPIFFEID) throws -> EnrollmentRequest {
        let identity = try SPIFFEID(trustDomain: server.trustDomain, role: .node, name: member.name)
        let request = try CertificateRequest(for: identity, hosts: hosts, privateKeyPEM: privateKeyPEM)
        return EnrollmentRequest(
            cluster: token.cluster, token: token.id, secret: token.secret, member: member,
            certificateRequest: request.bytes)
    }
}

extension EnrollmentRefusal {
    static func unreachable(_ endpoint: HostPort, _ reason: String) -> EnrollmentRefusal {
        EnrollmentRefusal(code: "unreachable", message: "\(endpoint): \(reason)", isRetryable: false)
    }

    static func untrusted(_ message: String) -> EnrollmentRefusal {
        EnrollmentRefusal(code: "untrusted", message: message, isRetryable: false)
    }
}

/// The asking end of one connection.
private final class EnrollmentExchange: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let endpoint: HostPort
    private let answer: EventLoopPromise<EnrollmentAnswer>
    private let request: (SPIFFEID) throws -> EnrollmentRequest
    private var buffer = EnrollmentFrameBuffer(limit: EnrollmentFrame.maximumAnswerBytes)
    private var verdict: Result<PinnedAuthority.Server, CertificateRefusal>?

    init(
        endpoint: HostPort, answer: EventLoopPromise<EnrollmentAnswer>,
        request: @escaping (SPIFFEID) throws -> EnrollmentRequest
    ) {
        self.endpoint = endpoint
        self.answer = answer
        self.request = request
    }

    func verifier(
        _ authority: PinnedAuthority, now: @escaping @Sendable () -> Date
    ) -> NIOSSLCustomVerificationCallback {
        { [weak self] chain, promise in
            do throws(CertificateRefusal) {
                self?.verdict = .success(try authority.verify(chain, now: now()))
                promise.succeed(.certificateVerified)
            } catch {
                self?.verdict = .failure(error)
                promise.succeed(.failed)
            }
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .handshakeCompleted? = event as? TLSUserEvent else {
            return context.fireUserInboundEventTriggered(event)
        }
        do {
            guard case .success(let server)? = verdict else {
                return fail(.untrusted("\(endpoint): nobody was verified"))
            }
            let frame = EnrollmentFrame.encoded(try request(server.identity))
            context.writeAndFlush(
                wrapOutboundOut(context.channel.allocator.buffer(bytes: frame)), promise: nil)
        } catch {
            fail(.badRequest("\(error)"))
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do {
            guard let body = try buffer.feed(unwrapInboundIn(data).readableBytesView) else { return }
            answer.succeed(try EnrollmentFrame.answer(body))
        } catch {
            fail(.badRequest("\(endpoint): the answer cannot be read: \(error)"))
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if case .failure(let refusal)? = verdict {
            let reason =
                if case .unknownAuthority = refusal { "is not of the authority that the token names" } else {
                    "shows a certificate that is no good: \(refusal)"
                }
            fail(.untrusted("\(endpoint) \(reason); nothing was sent to it"))
        } else {
            fail(.unreachable(endpoint, "\(error)"))
        }
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(.unreachable(endpoint, "the connection was closed before there was an answer"))
        context.fireChannelInactive()
    }

    /// Only the first result counts.
    private func fail(_ refusal: EnrollmentRefusal) { answer.fail(refusal) }
}

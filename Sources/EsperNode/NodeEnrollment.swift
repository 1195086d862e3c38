import APIDoor
import Coordination
import Enrollment
import EsperTypes
import FoundationEssentials
import Identity
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import RaftRuntime
import Synchronization

/// Lets hosts in by join tokens, on a node that has the authority's key: judges what they ask, signs, and has the cluster
/// count the use and admit the node before it hands anything out.
final class NodeEnrollment: Sendable {
    /// What signs, replaced as a whole.
    private struct Signer {
        var authority: CertificateAuthority
        /// Every authority that is trusted, for the new node.
        var trustedPEM: String
        /// What tokens carry; nil while this node's own certificate is another authority's: no host would trust it.
        var fingerprint: String?
        var tls: TLSConfiguration
    }

    private let node: NodeHandle
    private let settings: NodeSettings
    private let place: NodeSettings.EnrollmentPort
    private let signer: Mutex<Signer>
    private let logger: Logger
    /// Set once, right after `init`.
    private let listener = Mutex<EnrollmentListener?>(nil)

    /// Nil when the settings let nobody in here.
    ///
    /// - Throws: when the authority's key is no good or the port cannot be bound.
    static func start(
        _ settings: NodeSettings, credentials: TLSCredentials, node: NodeHandle, on group: any EventLoopGroup,
        logger: Logger
    ) async throws -> NodeEnrollment? {
        guard let place = settings.enrollment else { return nil }
        let first = try await NIOThreadPool.singleton.runIfActive { try Self.signer(settings, credentials) }
        let enrollment = NodeEnrollment(node, settings, place, first, logger)
        enrollment.warnIfNobodyCanJoin(first)
        let listener = try await EnrollmentListener.start(
            host: place.address.host, port: place.address.port, tls: first.tls, on: group, logger: logger,
            enroll: { [weak enrollment] in
                await enrollment?.enroll($0) ?? .refused(Self.refusal("draining", "the node is stopping", true))
            })
        enrollment.listener.withLock { $0 = listener }
        return enrollment
    }

    private init(
        _ node: NodeHandle, _ settings: NodeSettings, _ place: NodeSettings.EnrollmentPort, _ signer: Signer,
        _ logger: Logger
    ) {
        self.node = node
        self.settings = settings
        self.place = place
        self.signer = Mutex(signer)
        self.logger = logger
    }

    /// For the status: where tokens should send hosts; nil when they would not trust this node.
    var offer: EnrollmentOffer? {
        guard let fingerprint = signer.withLock({ $0.fingerprint }) else { return nil }
        let isEverywhere = ["0.0.0.0", "::"].contains(place.address.host)
        let host = isEverywhere ? settings.member.api.host : place.address.host
        return EnrollmentOffer(
            address: HostPort(host: host, port: place.address.port),
            authorityFingerprint: fingerprint)
    }

    func stop() async { await listener.withLock { $0 }?.stop() }

    /// Reads the authority's key again.
    ///
    /// - Returns: what puts the new signer in force, which does not fail any more.
    /// - Throws: when the files are no good; nothing has changed then.
    func reload(_ credentials: TLSCredentials) async throws -> @Sendable () -> Void {
        let new = try await NIOThreadPool.singleton.runIfActive { [settings] in
            try Self.signer(settings, credentials)
        }
        let listener = listener.withLock { $0 }
        let context = try NIOSSLContext(configuration: new.tls)
        return { [self] in
            signer.withLock { $0 = new }
            listener?.update(tls: context)
            warnIfNobodyCanJoin(new)
        }
    }

    private func warnIfNobodyCanJoin(_ signer: Signer) {
        guard signer.fingerprint == nil else { return }
        logger.warning(
            "no host can join here: this node's certificate is not of the authority of tls.authority_key; rotate it")
    }

    private static func signer(_ settings: NodeSettings, _ credentials: TLSCredentials) throws -> Signer {
        guard let key = try AuthorityKey.read(settings) else {
            preconditionFailure("settings were not validated: enroll.address without tls.authority_key")
        }
        let authority = key.authority
        return Signer(
            authority: authority, trustedPEM: key.trustedPEM,
            fingerprint: credentials.isVouchedFor(by: authority, now: Date())
                ? try authority.fingerprint.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() : nil,
            tls: try credentials.enrollmentServerConfiguration(
                authority: authority, applicationProtocols: [EnrollmentListener.applicationProtocol]))
    }

    // MARK: - Decisions

    private static let timeout = Duration.seconds(10)

    private func enroll(_ request: EnrollmentRequest) async -> EnrollmentAnswer {
        do throws(EnrollmentRefusal) {
            return .enrolled(try await admit(request))
        } catch {
            return .refused(error)
        }
    }

    /// Nothing is counted before everything else is in order, and nothing is handed out before it is counted.
    private func admit(_ request: EnrollmentRequest) async throws(EnrollmentRefusal) -> Enrolled {
        let signer = signer.withLock { $0 }
        guard request.cluster == settings.clusterID else {
            throw Self.refusal(
                "wrong_cluster", "this node is of the cluster \(settings.clusterID), and the token of another", false)
        }
        let secretDigest = JoinToken.digest(of: request.secret)
        try await judge(request, secretDigest)
        let (keyDigest, certificate) = try sign(request, signer)
        let redemption = JoinTokenRedemption(
            token: request.token, secretDigest: secretDigest, keyDigest: keyDigest, member: request.member)
        let id = try await redeem(redemption)
        // From this node's own state, which has applied the redemption.
        guard case .members(let table) = try await query(.members, linearizable: false) else { throw Self.unexpected }
        return Enrolled(
            cluster: settings.clusterID, node: id, authoritiesPEM: signer.trustedPEM, certificatePEM: certificate,
            members: table.records.filter { $0.isEnrolled && $0.id != id })
    }

    /// Before anything is written to the log: who has no token costs the cluster a read.
    private func judge(_ request: EnrollmentRequest, _ secretDigest: [UInt8]) async throws(EnrollmentRefusal) {
        guard case .joinTokens(let table) = try await query(.joinTokens, linearizable: true) else {
            throw Self.unexpected
        }
        // Clocks differ; the replicated one has the last word.
        let seconds = max(Date().timeIntervalSince1970 - CertificateAuthority.clockAllowance, 0)
        do throws(Refusal) {
            try table.judged(
                request.token, secretDigest: secretDigest, name: request.member.name, at: UInt64(seconds * 1e9))
        } catch {
            throw Self.refusal(error.code, error.message, error.isRetryable)
        }
    }

    private func sign(
        _ request: EnrollmentRequest, _ signer: Signer
    ) throws(EnrollmentRefusal) -> (keyDigest: [UInt8], certificatePEM: String) {
        let identity: SPIFFEID
        do throws(SPIFFEID.ParseError) {
            identity = try SPIFFEID(
                trustDomain: signer.authority.trustDomain, role: .node, name: request.member.name)
        } catch {
            throw Self.refusal("invalid_name", "'\(request.member.name)' cannot be the name of a node", false)
        }
        do throws(IdentityError) {
            let wanted = try CertificateRequest(der: request.certificateRequest)
            guard wanted.identity == identity else {
                throw IdentityError(
                    .untrusted, "the certificate request is for \(wanted.identity), not for \(identity)")
            }
            // A node shall not pass for another host than those at which it says it is reached.
            let hosts = [request.member.api.host, request.member.peer.host].map(CertificateRequest.spelled)
            guard let stranger = wanted.hosts.first(where: { !hosts.contains($0) }) else {
                let period = TimeInterval(settings.certificatePeriod.nanoseconds) / 1e9
                return (
                    wanted.keyDigest, try signer.authority.issue(wanted, validFor: period, now: Date())
                )
            }
            throw IdentityError(
                .untrusted, "the certificate request names \(stranger), which is no address of the node")
        } catch {
            throw Self.refusal("wrong_request", error.message, false)
        }
    }

    private func redeem(_ redemption: JoinTokenRedemption) async throws(EnrollmentRefusal) -> NodeID {
        let body = await node.call(
            .command(.redeemJoinToken(redemption), nil), principal: "join-token/\(redemption.token)",
            timeout: Self.timeout)
        switch body {
        case .command(let reply):
            if case .joinTokenRedeemed(let id) = reply.result { return id }
            guard let refusal = reply.result.refusal else { throw Self.unexpected }
            var table = MemberTable()
            if case .members(let known) = try await query(.members, linearizable: false) { table = known }
            let message = refusal.message { table.record($0)?.name ?? "node \($0)" }
            throw Self.refusal(refusal.code, message, refusal.isRetryable)
        case .failed(let failure): throw Self.refusal(failure)
        default: throw Self.unexpected
        }
    }

    private func query(_ query: Query, linearizable: Bool) async throws(EnrollmentRefusal) -> QueryResult {
        let body = await node.call(
            .query(query, linearizable: linearizable), principal: "node/\(settings.name)", timeout: Self.timeout)
        switch body {
        case .query(let reply): return reply.result
        case .failed(let failure): throw Self.refusal(failure)
        default: throw Self.unexpected
        }
    }

    private static func refusal(_ code: String, _ message: String, _ isRetryable: Bool) -> EnrollmentRefusal {
        EnrollmentRefusal(code: code, message: message, isRetryable: isRetryable)
    }

    /// A redemption whose outcome is not known can be asked for again: it is counted once.
    private static func refusal(_ failure: ServiceFailure) -> EnrollmentRefusal {
        refusal(failure.code.rawValue, failure.message, failure.isRetryable || failure.outcome == .unknown)
    }

    private static let unexpected = refusal("internal", "the node gave an answer of another kind", false)
}

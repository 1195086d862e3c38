import Coordination
import Enrollment
import EsperTypes
import FoundationEssentials
import Identity
import Logging
import Metrics
import NIOPosix
import RaftRuntime
import Synchronization

/// Certifies members' keys for longer, on a node that has the authority's key: every certificate is in the audit trail before it
/// is handed out.
final class MemberCertifier: Sendable {
    private let node: NodeHandle
    private let settings: NodeSettings
    private let decision: Mutex<MemberCertification>
    private let logger: Logger
    private let issued = Counter(label: "enroll.renewals")

    private static let timeout = Duration.seconds(10)

    /// Nil when the settings name no key of the authority.
    ///
    /// - Throws: when the key is no good.
    static func start(_ settings: NodeSettings, node: NodeHandle, logger: Logger) async throws -> MemberCertifier? {
        guard let decision = try await read(settings) else { return nil }
        let certifier = MemberCertifier(node, settings, decision, logger)
        node.certifyMembers { [weak certifier] request, member in
            await certifier?.certify(request, for: member)
                ?? .refused(code: "draining", message: "the node is stopping")
        }
        return certifier
    }

    private init(_ node: NodeHandle, _ settings: NodeSettings, _ decision: MemberCertification, _ logger: Logger) {
        self.node = node
        self.settings = settings
        self.decision = Mutex(decision)
        self.logger = logger
    }

    /// Reads the authority's key again.
    ///
    /// - Returns: what puts it in force, which does not fail any more.
    /// - Throws: when the files are no good; nothing has changed then.
    func reload() async throws -> @Sendable () -> Void {
        let new = try await Self.read(settings)
        return { [self] in
            if let new { decision.withLock { $0 = new } }
        }
    }

    private static func read(_ settings: NodeSettings) async throws -> MemberCertification? {
        try await NIOThreadPool.singleton.runIfActive {
            guard let key = try AuthorityKey.read(settings) else { return nil }
            return MemberCertification(
                authority: key.authority, trusted: try TrustBundle(pem: key.trustedPEM),
                period: TimeInterval(settings.certificatePeriod.nanoseconds) / 1e9)
        }
    }

    /// - Parameter name: who asks; known by the certificate of its link, or this node itself.
    func certify(_ request: CertificationRequest, for name: String) async -> CertificationAnswer {
        do throws(EnrollmentRefusal) {
            let members = try await members()
            let certificate = try decision.withLock({ $0 }).certify(
                request.certificateRequest, of: request.certificatePEM, for: name, among: members, now: Date())
            try await record(certificate, for: name)
            issued.increment()
            logger.info(
                "a member's certificate was renewed",
                metadata: [
                    "member": "\(name)", "serial": "\(certificate.serialNumber)",
                    "valid.until": "\(certificate.notValidAfter)",
                ])
            return .certified(certificate.certificatePEM)
        } catch {
            // Asked again by itself until it is time.
            logger.log(
                level: error.code == "too_early" ? .debug : .warning, "a member's certificate was not renewed",
                metadata: ["member": "\(name)", "reason": "\(error.code)", "error": "\(error.message)"])
            return .refused(code: error.code, message: error.message)
        }
    }

    /// A member that was removed is one no more, whatever this node has heard so far.
    private func members() async throws(EnrollmentRefusal) -> MemberTable {
        let body = await node.call(
            .query(.members, linearizable: true), principal: "node/\(settings.name)", timeout: Self.timeout)
        switch body {
        case .query(let reply):
            if case .members(let table) = reply.result { return table }
            throw Self.unexpected
        case .failed(let failure): throw Self.refusal(failure)
        default: throw Self.unexpected
        }
    }

    private func record(_ certificate: MemberCertification.Issued, for name: String) async throws(EnrollmentRefusal) {
        let note = OutboxNote(
            kind: .administration, subject: "certificate.renewed",
            fields: [
                .init("node", name), .init("serial", certificate.serialNumber),
                .init("expires_unix", String(Int(certificate.notValidAfter.timeIntervalSince1970))),
                .init("signed_by", settings.name),
            ])
        let body = await node.call(
            .command(.record([note], term: nil), nil), principal: "node/\(name)", timeout: Self.timeout)
        switch body {
        case .command(let reply):
            guard let refusal = reply.result.refusal else { return }
            throw EnrollmentRefusal(
                code: refusal.code, message: refusal.message(naming: { "node \($0)" }), isRetryable: refusal.isRetryable
            )
        case .failed(let failure): throw Self.refusal(failure)
        default: throw Self.unexpected
        }
    }

    private static func refusal(_ failure: ServiceFailure) -> EnrollmentRefusal {
        EnrollmentRefusal(code: failure.code.rawValue, message: failure.message, isRetryable: failure.isRetryable)
    }

    private static let unexpected = EnrollmentRefusal(
        code: "internal", message: "the node gave an answer of another kind", isRetryable: false)
}

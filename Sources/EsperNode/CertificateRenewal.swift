import EsperTypes
import FoundationEssentials
import Identity
import Logging
import Metrics
import NIOPosix
import RaftRuntime
import Synchronization

/// Has this node's key certified for longer when its certificate is in the last third of its life, by any member that has the
/// authority's key, and puts the new certificate in force.
///
/// The key stays, so there is one file to replace, which is replaced whole. A certificate that has expired is not renewed: it
/// proves nothing any more. Where no member has the authority's key, certificates come from outside, and so do new ones.
final class CertificateRenewal: Sendable {
    private let node: NodeHandle
    private let settings: NodeSettings
    private let expiry: CertificateExpiry
    /// Set when this node has the authority's key itself.
    private let certifier: MemberCertifier?
    private let reload: @Sendable () async -> Void
    private let logger: Logger
    /// What the log was told last, so that it hears of a lasting state once.
    private let told = Mutex<String?>(nil)

    private static let answerTimeout = Duration.seconds(25)
    /// Clocks are set, and machines suspended, while we wait.
    private static let longestWait: TimeInterval = 60

    init(
        _ node: NodeHandle, _ settings: NodeSettings, _ expiry: CertificateExpiry, _ certifier: MemberCertifier?,
        _ logger: Logger, reload: @escaping @Sendable () async -> Void
    ) {
        self.node = node
        self.settings = settings
        self.expiry = expiry
        self.certifier = certifier
        self.logger = logger
        self.reload = reload
    }

    /// Until the task is cancelled.
    func run() async {
        while !Task.isCancelled {
            let now = Date()
            var wait = expiry.renewalDue.timeIntervalSince(now)
            if wait <= 0 {
                await renew(now)
                // A twentieth of what is left: many attempts before the end, and one an hour while there is time.
                wait = min(max(expiry.notValidAfter.timeIntervalSince(Date()) / 20, 1), 3600)
            } else {
                wait = min(wait, Self.longestWait)
            }
            // Fails when it is cancelled, which ends the loop.
            try? await Task.sleep(for: .nanoseconds(Int64(wait * 1e9)), clock: .continuous)
        }
    }

    private enum Outcome: String {
        case renewed, reloaded
        case noAuthority = "no_authority"
        case unreachable, refused, failed
    }

    private func renew(_ now: Date) async {
        guard now < expiry.notValidAfter else { return }
        let outcome: Outcome
        do {
            outcome = try await attempt()
        } catch {
            outcome = .failed
            tell("this node's certificate cannot be renewed", ["error": "\(error)"])
        }
        Counter(label: "tls.certificate.renewals", dimensions: [("outcome", outcome.rawValue)]).increment()
    }

    private func attempt() async throws -> Outcome {
        let own = try await NIOThreadPool.singleton.runIfActive { [settings] in try OwnFiles(settings) }
        guard own.notValidAfter <= expiry.notValidAfter else {
            // Somebody has rotated it by hand.
            await reload()
            return .reloaded
        }
        let request = CertificationRequest(
            certificateRequest: try CertificateRequest(
                for: own.identity, hosts: own.hosts, privateKeyPEM: own.privateKeyPEM
            ).bytes, certificatePEM: own.certificatePEM)
        let (answer, signer) = await ask(request)
        switch answer {
        case .certified(let pem)?:
            let new = try await NIOThreadPool.singleton.runIfActive { [settings] in try own.replace(by: pem, settings) }
            told.withLock { $0 = nil }
            logger.notice(
                "this node's certificate was renewed",
                metadata: [
                    "member": "\(signer)", "serial": "\(new.serialNumber)", "valid.until": "\(new.notValidAfter)",
                ])
            await reload()
            return .renewed
        case .refused(CertificationAnswer.noAuthority, _)?:
            tell(
                "no member has the authority's key: certificates come from outside and are not renewed by themselves",
                [:])
            return .noAuthority
        case .refused(let code, let message)?:
            tell(
                "this node's certificate was not renewed",
                ["member": "\(signer)", "reason": "\(code)", "error": "\(message)"],
                level: code == "too_early" ? .info : .warning)
            return .refused
        case nil:
            tell("nobody who could renew this node's certificate can be reached", [:])
            return .unreachable
        }
    }

    /// The first certificate that somebody gives; else the best reason why there is none: a refusal, then silence, and last
    /// that nobody has the key, which only all together can say.
    private func ask(_ request: CertificationRequest) async -> (CertificationAnswer?, signer: String) {
        if let certifier { return (await certifier.certify(request, for: settings.name), settings.name) }
        guard
            case .status(let status) = await node.call(
                .status, principal: "node/\(settings.name)", timeout: Self.answerTimeout)
        else { return (nil, "") }
        var refusal: (CertificationAnswer, String)?
        var isAnyoneSilent = false
        for member in status.members where member.name != settings.name {
            let answer = await node.certification(request, by: member.name, within: Self.answerTimeout)
            switch answer {
            case .certified?: return (answer, member.name)
            case .refused(CertificationAnswer.noAuthority, _)?: break
            case .refused?: refusal = answer.map { ($0, member.name) }
            case nil: isAnyoneSilent = true
            }
        }
        if let refusal { return (refusal.0, refusal.1) }
        return (isAnyoneSilent ? nil : .refused(code: CertificationAnswer.noAuthority, message: ""), "")
    }

    private func tell(_ message: String, _ metadata: Logger.Metadata, level: Logger.Level = .warning) {
        let words = message + "\(metadata["reason"] ?? metadata["error"] ?? "")"
        let isNew = told.withLock { told in
            defer { told = words }
            return told != words
        }
        if isNew { logger.log(level: level, "\(message)", metadata: metadata) }
    }
}

/// The node's own key and certificate as the files hold them.
private struct OwnFiles: Sendable {
    let identity: SPIFFEID
    let hosts: [String]
    let notValidAfter: Date
    let certificatePEM: String
    let privateKeyPEM: String
    /// Where the certificate is, links resolved.
    private let place: String

    /// - Throws: also when the certificate could not be replaced, so that nobody signs one in vain.
    init(_ settings: NodeSettings) throws {
        let file = settings.tls.certificate
        certificatePEM = try PEMFile.read(file)
        privateKeyPEM = try PEMFile.read(settings.tls.privateKey)
        let credentials = try TLSCredentials(
            certificatePEM: certificatePEM, privateKeyPEM: privateKeyPEM,
            authorityPEM: try PEMFile.read(settings.tls.authority), now: Date())
        identity = credentials.identity
        notValidAfter = credentials.notValidAfter
        hosts = try CertificateSummary.read(pem: certificatePEM)[0].hosts
        place = try PEMFile.replaceable(file)
    }

    /// Checks the new certificate as a start would, then puts it in the old one's place.
    func replace(by pem: String, _ settings: NodeSettings) throws -> CertificateSummary {
        let new = try TLSCredentials(
            certificatePEM: pem, privateKeyPEM: privateKeyPEM, authorityPEM: try PEMFile.read(settings.tls.authority),
            now: Date())
        guard new.identity == identity, new.notValidAfter > notValidAfter else {
            throw StartError(
                message: "the new certificate is for \(new.identity), until \(new.notValidAfter): the old one stays")
        }
        try PEMFile.write(pem, to: place, replacing: true)
        return try CertificateSummary.read(pem: pem)[0]
    }
}

internal import EsperTypes
internal import NIOCore

/// A member's wish to have its key certified for longer.
public struct CertificationRequest: Hashable, Sendable {
    /// PKCS #10 in DER.
    public var certificateRequest: [UInt8]
    /// The certificate that it has now, as PEM.
    public var certificatePEM: String

    public init(certificateRequest: [UInt8], certificatePEM: String) {
        self.certificateRequest = certificateRequest
        self.certificatePEM = certificatePEM
    }

    /// Ours have less than a tenth of it.
    public static let maximumBytes = 16 << 10
}

/// What a node answers that was asked to certify a member's key.
public enum CertificationAnswer: Hashable, Sendable {
    /// As PEM.
    case certified(String)
    /// A stable word and a line for an operator.
    case refused(code: String, message: String)

    /// The node does not have the authority's key.
    public static let noAuthority = "no_authority"
}

/// Decides for the member of this name, which is known by the certificate of its link.
public typealias Certifier = @Sendable (CertificationRequest, _ member: String) async -> CertificationAnswer

/// Requests to certify that wait for a peer's answer, and those of peers that are being decided.
struct PendingCertifications {
    /// Tells our tokens from those of other questions.
    static let mark: UInt64 = 1 << 62

    private var next: UInt64 = 0
    private var waiting: [UInt64: EventLoopPromise<CertificationAnswer?>] = [:]
    /// One at a time for each peer.
    var deciding: Set<NodeID> = []
    /// Set where the authority's key is.
    var certifier: Certifier?

    mutating func add(_ promise: EventLoopPromise<CertificationAnswer?>) -> UInt64 {
        next += 1
        waiting[next | Self.mark] = promise
        return next | Self.mark
    }

    /// Only the first end of a request counts.
    mutating func end(_ token: UInt64, _ answer: CertificationAnswer?) {
        waiting.removeValue(forKey: token)?.succeed(answer)
    }

    mutating func endAll() {
        for promise in waiting.values { promise.succeed(nil) }
        waiting = [:]
    }
}

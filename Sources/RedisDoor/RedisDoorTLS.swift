public import Identity
public import NIOSSL

/// How a door speaks TLS: without ALPN, which Redis clients do not know.
public struct RedisDoorTLS: Sendable {
    /// A certificate to show to clients, with its key.
    public struct Shown: Sendable {
        public var chain: [NIOSSLCertificate]
        public var key: NIOSSLPrivateKey

        public init(chain: [NIOSSLCertificate], key: NIOSSLPrivateKey) {
            self.chain = chain
            self.key = key
        }
    }

    /// What clients' certificates are judged by, and what is shown to them unless there is something else.
    public var credentials: TLSCredentials
    public var shown: Shown?
    /// Without a certificate nobody comes in; otherwise one may be shown.
    public var requiresCertificates: Bool
    public var acceptsTLS12: Bool

    public init(
        credentials: TLSCredentials, shown: Shown? = nil, requiresCertificates: Bool = false, acceptsTLS12: Bool = false
    ) {
        self.credentials = credentials
        self.shown = shown
        self.requiresCertificates = requiresCertificates
        self.acceptsTLS12 = acceptsTLS12
    }
}

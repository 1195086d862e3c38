public import EsperTypes

/// What the cluster's status says of the node that answers alone.
public struct NodeFacts: Sendable {
    public var catalog: CatalogState
    /// Nil when hosts cannot join here.
    public var enrollment: EnrollmentOffer?

    public init(catalog: CatalogState, enrollment: EnrollmentOffer? = nil) {
        self.catalog = catalog
        self.enrollment = enrollment
    }
}

/// Where hosts with a token can join, and whom they may trust there.
public struct EnrollmentOffer: Hashable, Sendable {
    public var address: HostPort
    /// SHA-256 of the certificate of the authority that signs, in hexadecimal.
    public var authorityFingerprint: String

    public init(address: HostPort, authorityFingerprint: String) {
        self.address = address
        self.authorityFingerprint = authorityFingerprint
    }
}

/// Why keys and certificates could not be made, stored or loaded; for an operator to read.
public struct IdentityError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Hashable, Sendable {
        /// A name, host or period that was asked for cannot be in a certificate.
        case invalidRequest = "invalid_request"
        /// A PEM document could not be read as what it should be.
        case malformed
        /// The private key is not the one the certificate names.
        case keyMismatch = "key_mismatch"
        /// The certificate is not one our authority would have issued.
        case untrusted
        /// A file could not be read or written.
        case file
        /// A file exists and would have been overwritten.
        case exists
    }

    public let code: Code
    public let message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}

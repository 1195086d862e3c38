internal import struct Crypto.SHA256
internal import EsperTypes

extension Digest {
    /// Of these bytes.
    init(sha256 bytes: [UInt8]) {
        guard let digest = Digest(bytes: Array(SHA256.hash(data: bytes))) else {
            preconditionFailure("a SHA-256 without 32 bytes")
        }
        self = digest
    }
}

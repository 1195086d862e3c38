internal import struct Crypto.SHA256
public import EsperTypes

extension EsperTypes.Digest {
    /// SHA-256 of the bytes.
    public init(hashing bytes: [UInt8]) {
        guard let digest = Self(bytes: Array(SHA256.hash(data: bytes))) else {
            preconditionFailure("SHA-256 has \(Self.byteCount) bytes")
        }
        self = digest
    }
}

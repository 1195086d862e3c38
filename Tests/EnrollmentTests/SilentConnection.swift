import FoundationEssentials
import Glibc
import Identity
import NIOSSL

/// A TCP connection that is made and never used; closed when it is released.
final class SilentConnection {
    private let descriptor: CInt

    struct Refused: Error {}

    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        address.sin_port = UInt16(port).bigEndian
        let descriptor = descriptor
        let isConnected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        guard isConnected else { throw Refused() }
    }

    deinit { close(descriptor) }
}

extension PinnedAuthority {
    /// - Returns: the name of the node that the chain is of.
    func verify(pem: String, now: Date) throws -> String {
        try verify(try NIOSSLCertificate.fromPEMBytes([UInt8](pem.utf8)), now: now).identity.name
    }
}

internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// Why a connection did not come about, in the words of whoever has to mend it.
enum ConnectFailure {
    static func reason(_ error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError:
            if error.dnsAError != nil || error.dnsAAAAError != nil {
                return "the name '\(error.host)' cannot be resolved"
            }
            // Several addresses of one name mostly fail alike.
            return error.connectionErrors.first.map { reason($0.error) } ?? "no address to connect to"
        case let error as IOError:
            return String(cString: strerror(error.errnoCode)).lowercased()
        case ChannelError.connectTimeout(let limit):
            return "no connection in \(limit.nanoseconds / 1_000_000) ms"
        case NIOSSLError.handshakeFailed(let cause): return "TLS handshake failed: \(cause)"
        default: return "\(error)"
        }
    }
}

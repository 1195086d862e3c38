public import EsperTypes
internal import NIOCore

/// `https://host[:port]` or `http://host[:port]`, without a path.
public struct S3Endpoint: Hashable, Sendable, CustomStringConvertible, LosslessStringConvertible {
    public var isSecure: Bool
    public var address: HostPort

    public init(isSecure: Bool, address: HostPort) {
        self.isSecure = isSecure
        self.address = address
    }

    public init?(_ description: String) {
        let rest: Substring
        if description.hasPrefix("https://") {
            isSecure = true
            rest = description.dropFirst("https://".count)
        } else if description.hasPrefix("http://") {
            isSecure = false
            rest = description.dropFirst("http://".count)
        } else {
            return nil
        }
        let authority = rest.last == "/" ? rest.dropLast() : rest
        guard !authority.isEmpty, !authority.contains(where: { "/?#@".contains($0) || !$0.isASCII }) else { return nil }
        let hasPort = authority.contains(":") && !authority.hasSuffix("]")
        let text = hasPort ? String(authority) : "\(authority):\(isSecure ? 443 : 80)"
        guard let address = HostPort(text), address.port > 0 else { return nil }
        self.address = address
    }

    public var description: String { "\(isSecure ? "https" : "http")://\(address)" }

    /// Whether the host is an address rather than a name.
    var isAddress: Bool { (try? SocketAddress(ipAddress: address.host, port: address.port)) != nil }
}

import Foundation

#if canImport(Glibc)
    import Glibc
#endif

/// A blocking connection that speaks the protocol and nothing more.
final class WireClient {
    private let descriptor: Int32
    private var buffer: [UInt8] = []
    private var position = 0

    struct Closed: Error {}

    /// - Parameter seconds: how long a read may take.
    init(port: Int, seconds: Int = 10) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            close(descriptor)
            throw Closed()
        }
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw Closed() }
            rest = rest.dropFirst(count)
        }
    }

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    /// Sends a line and reads its answer.
    func ask(_ line: String) throws -> String {
        try send(line + "\r\n")
        return try answer()
    }

    /// One answer, as it came.
    func answer() throws -> String {
        let head = try line()
        let kind = head.first ?? " "
        let count = Int(head.dropFirst()) ?? -1
        switch kind {
        case "$", "=":
            return count < 0 ? head : head + " " + String(decoding: try take(count + 2).dropLast(2), as: UTF8.self)
        case "*", "~", ">":
            guard count >= 0 else { return head }
            return "\(head) [" + (try (0..<count).map { _ in try answer() }).joined(separator: ", ") + "]"
        case "%":
            return "\(head) {" + (try (0..<2 * count).map { _ in try answer() }).joined(separator: ", ") + "}"
        default: return head
        }
    }

    func isClosed() -> Bool {
        do {
            try fill()
            return false
        } catch {
            return true
        }
    }

    private func line() throws -> String {
        while true {
            if let end = buffer[position...].firstIndex(of: 13), end + 1 < buffer.count {
                defer { position = end + 2 }
                return String(decoding: buffer[position..<end], as: UTF8.self)
            }
            try fill()
        }
    }

    private func take(_ count: Int) throws -> ArraySlice<UInt8> {
        while buffer.count - position < count { try fill() }
        defer { position += count }
        return buffer[position..<position + count]
    }

    private func fill() throws {
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count > 0 else { throw Closed() }
        buffer.removeFirst(position)
        position = 0
        buffer += chunk.prefix(count)
    }
}

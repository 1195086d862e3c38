import Foundation
import Glibc
import Synchronization

/// Loopback ports for servers that other processes start, each given out once on this machine.
///
/// A port that was free a moment ago may be taken by anybody's outgoing connection or by another test that asked the
/// kernel for a free one. These lie below the range from which the kernel serves both, and each is reserved until
/// this process ends by an abstract Unix socket of its name, which all test processes on this machine share.
public enum FreePorts {
    public struct Failure: Error { public var message: String }

    private static let reservations = Mutex<[Int32]>([])

    public static func take(_ count: Int) throws -> [Int] {
        var ports: [Int] = []
        for _ in 0..<count * 1000 where ports.count < count {
            let port = Int.random(in: range)
            guard let reservation = try reserve(port) else { continue }
            guard try isFree(port) else {
                close(reservation)
                continue
            }
            reservations.withLock { $0.append(reservation) }
            ports.append(port)
        }
        guard ports.count == count else { throw Failure(message: "no \(count) ports are free in \(range)") }
        return ports
    }

    public static func take() throws -> Int { try take(1)[0] }

    /// - Returns: the first of `count` free ports without a gap.
    public static func takeRow(of count: Int) throws -> Int {
        for _ in 0..<1000 {
            let first = Int.random(in: range.lowerBound..<range.upperBound - count)
            var reserved: [Int32] = []
            for port in first..<first + count {
                guard let reservation = try reserve(port) else { break }
                reserved.append(reservation)
                guard try isFree(port) else { break }
            }
            if reserved.count == count, try isFree(first + count - 1) {
                reservations.withLock { $0 += reserved }
                return first
            }
            for reservation in reserved { close(reservation) }
        }
        throw Failure(message: "no \(count) ports in a row are free in \(range)")
    }

    /// Above what services use, below what the kernel gives out; a machine that leaves too little room gets the rest.
    private static let range: Range<Int> = {
        let text = try? String(contentsOfFile: "/proc/sys/net/ipv4/ip_local_port_range", encoding: .utf8)
        let first = text?.split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) } ?? 32_768
        return first >= 11_000 ? 10_000..<first : 10_000..<65_000
    }()

    /// - Returns: a descriptor that holds the reservation; nil when another test has the port.
    private static func reserve(_ port: Int) throws -> Int32? {
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw Failure(message: "no socket: error \(errno)") }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // The first byte of an abstract name is zero.
        let name = [0] + Array("esper-test-port-\(port)".utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
        let length = socklen_t(MemoryLayout<sockaddr_un>.offset(of: \.sun_path)! + name.count)
        if bind(descriptor, &address, length) { return descriptor }
        close(descriptor)
        return nil
    }

    private static func isFree(_ port: Int) throws -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw Failure(message: "no socket: error \(errno)") }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        address.sin_port = UInt16(port).bigEndian
        return bind(descriptor, &address, socklen_t(MemoryLayout<sockaddr_in>.size))
    }

    private static func bind<Address>(_ descriptor: Int32, _ address: inout Address, _ length: socklen_t) -> Bool {
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.bind(descriptor, $0, length) == 0 }
        }
    }
}

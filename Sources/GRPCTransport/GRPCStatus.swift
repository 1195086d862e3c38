/// The outcome codes of gRPC, with the numbers of the wire.
///
/// Source: grpc/grpc, doc/statuscodes.md.
public enum GRPCCode: UInt8, CaseIterable, Sendable {
    case ok = 0
    case cancelled = 1
    case unknown = 2
    case invalidArgument = 3
    case deadlineExceeded = 4
    case notFound = 5
    case alreadyExists = 6
    case permissionDenied = 7
    case resourceExhausted = 8
    case failedPrecondition = 9
    case aborted = 10
    case outOfRange = 11
    case unimplemented = 12
    case `internal` = 13
    case unavailable = 14
    case dataLoss = 15
    case unauthenticated = 16

    /// The code that a plain HTTP answer stands for, sent by something that does not speak gRPC.
    ///
    /// Source: grpc/grpc, doc/http-grpc-status-mapping.md.
    init(httpStatus: Int) {
        switch httpStatus {
        case 400: self = .internal
        case 401: self = .unauthenticated
        case 403: self = .permissionDenied
        case 404: self = .unimplemented
        case 429, 502, 503, 504: self = .unavailable
        default: self = .unknown
        }
    }
}

/// How a call ended: a code, and for people a message.
public struct GRPCStatus: Hashable, Sendable, CustomStringConvertible {
    public var code: GRPCCode
    public var message: String

    public init(_ code: GRPCCode, _ message: String = "") {
        self.code = code
        self.message = message
    }

    public static let ok = GRPCStatus(.ok)

    public var description: String { message.isEmpty ? "\(code)" : "\(code): \(message)" }
}

/// The encoding of `grpc-message`: everything outside printable ASCII, and `%`, as `%XX`; spaces at both ends too, with
/// which no field value may begin or end (RFC 9113, section 8.2.1).
///
/// Source: grpc/grpc, doc/PROTOCOL-HTTP2.md, "Percent-Byte".
package enum PercentCoding {
    /// At most `limit` bytes of the text are kept, so that a message cannot outgrow the peer's header limit.
    package static func encode(_ text: String, limit: Int = 1024) -> [UInt8] {
        var encoded: [UInt8] = []
        encoded.reserveCapacity(text.utf8.count)
        let kept = text.utf8.prefix(limit)
        let last = kept.count - 1
        for (place, byte) in kept.enumerated() {
            let isAtEnd = place == 0 || place == last
            if byte > 0x20 || byte == 0x20 && !isAtEnd, byte <= 0x7e, byte != 0x25 {
                encoded.append(byte)
            } else {
                encoded.append(0x25)
                encoded.append(hexadecimal(byte >> 4))
                encoded.append(hexadecimal(byte & 15))
            }
        }
        return encoded
    }

    /// What is not well encoded stays as it is, as the protocol demands; so does the rest of the text.
    package static func decode(_ bytes: some Collection<UInt8>) -> String {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(bytes.count)
        var rest = bytes[...]
        while let byte = rest.popFirst() {
            if byte == 0x25, let high = rest.first.flatMap(value), let low = rest.dropFirst().first.flatMap(value) {
                decoded.append(high << 4 | low)
                rest = rest.dropFirst(2)
            } else {
                decoded.append(byte)
            }
        }
        return String(decoding: decoded, as: UTF8.self)
    }

    private static func hexadecimal(_ nibble: UInt8) -> UInt8 { nibble < 10 ? 0x30 + nibble : 0x37 + nibble }

    private static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x41...0x46: digit - 0x37
        case 0x61...0x66: digit - 0x57
        default: nil
        }
    }
}

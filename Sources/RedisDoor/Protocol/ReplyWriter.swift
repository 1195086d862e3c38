package import NIOCore

/// Writes answers in version 2 or 3 of the protocol.
package enum ReplyWriter {
    package enum Version: Int, Sendable {
        case two = 2
        case three = 3
    }

    package static func write(_ reply: Reply, _ version: Version, into buffer: inout ByteBuffer) {
        switch reply {
        case .ok: buffer.writeStaticString("+OK\r\n")
        case .simple(let text): line("+", text, &buffer)
        case .error(let text): line("-", text, &buffer)
        case .integer(let value): number(":", value, &buffer)
        case .bulk(let bytes): bytes.withUnsafeBytes { bulk($0, into: &buffer) }
        case .parts(let parts):
            number("$", Int64(parts.reduce(0) { $0 + $1.count }), &buffer)
            for part in parts { buffer.writeBytes(part) }
            buffer.writeStaticString("\r\n")
        case .null: null(version, into: &buffer)
        case .nullArray: buffer.writeStaticString(version == .two ? "*-1\r\n" : "_\r\n")
        case .array(let items): collection("*", items.count, items, version, &buffer)
        case .map(let items):
            if version == .two {
                collection("*", items.count, items, version, &buffer)
            } else {
                collection("%", items.count / 2, items, version, &buffer)
            }
        case .set(let items): collection(version == .two ? "*" : "~", items.count, items, version, &buffer)
        case .verbatim(let text):
            if version == .two {
                Array(text.utf8).withUnsafeBytes { bulk($0, into: &buffer) }
            } else {
                number("=", Int64(text.utf8.count + 4), &buffer)
                buffer.writeStaticString("txt:")
                buffer.writeString(text)
                buffer.writeStaticString("\r\n")
            }
        case .silent: break
        }
    }

    package static func null(_ version: Version, into buffer: inout ByteBuffer) {
        buffer.writeStaticString(version == .two ? "$-1\r\n" : "_\r\n")
    }

    /// A bulk string, in one step.
    @inline(__always)
    package static func bulk(_ bytes: UnsafeRawBufferPointer, into buffer: inout ByteBuffer) {
        let count = bytes.count
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count + 24) { target in
            target[0] = UInt8(ascii: "$")
            var end = 1 + decimal(UInt64(count), into: target, at: 1)
            target[end] = 13
            target[end + 1] = 10
            end += 2
            if let source = bytes.baseAddress, let base = target.baseAddress, count > 0 {
                (base + end).copyMemory(from: source, byteCount: count)
            }
            end += count
            target[end] = 13
            target[end + 1] = 10
            return end + 2
        }
    }

    /// A push of invalidated keys; nil: of all.
    package static func invalidation(_ keys: [[UInt8]]?, into buffer: inout ByteBuffer) {
        buffer.writeStaticString(">2\r\n$10\r\ninvalidate\r\n")
        guard let keys else {
            buffer.writeStaticString("_\r\n")
            return
        }
        number("*", Int64(keys.count), &buffer)
        for key in keys { key.withUnsafeBytes { bulk($0, into: &buffer) } }
    }

    static func number(_ mark: StaticString, _ value: Int64, _ buffer: inout ByteBuffer) {
        buffer.writeStaticString(mark)
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 24) { target in
            var end = 0
            if value < 0 {
                target[0] = UInt8(ascii: "-")
                end = 1
            }
            end += decimal(value.magnitude, into: target, at: end)
            target[end] = 13
            target[end + 1] = 10
            return end + 2
        }
    }

    private static func line(_ mark: StaticString, _ text: String, _ buffer: inout ByteBuffer) {
        buffer.writeStaticString(mark)
        // A line end within would be read as the answer's end.
        buffer.writeBytes(text.utf8.lazy.map { $0 == 13 || $0 == 10 ? 32 : $0 })
        buffer.writeStaticString("\r\n")
    }

    private static func collection(
        _ mark: StaticString, _ count: Int, _ items: [Reply], _ version: Version, _ buffer: inout ByteBuffer
    ) {
        number(mark, Int64(count), &buffer)
        for item in items { write(item, version, into: &buffer) }
    }

    /// Returns how many digits there are.
    @inline(__always)
    private static func decimal(_ value: UInt64, into target: UnsafeMutableRawBufferPointer, at start: Int) -> Int {
        var digits = 1
        var rest = value / 10
        while rest > 0 {
            digits += 1
            rest /= 10
        }
        rest = value
        var index = start + digits
        for _ in 0..<digits {
            index -= 1
            target[index] = UInt8(truncatingIfNeeded: rest % 10) &+ 48
            rest /= 10
        }
        return digits
    }
}

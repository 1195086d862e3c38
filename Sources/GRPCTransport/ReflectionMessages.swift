/// The messages of `grpc.reflection.v1` and `v1alpha`, which are the same: too small to need generated code.
enum ReflectionMessages {
    /// A `ServerReflectionRequest`.
    struct Request {
        enum Question {
            case file(name: String)
            case symbol(String)
            case fileOfExtension(type: String, number: Int32)
            case extensionNumbers(type: String)
            case services
        }

        var host: [UInt8] = []
        var question: Question?

        /// - Returns: nil for bytes that are no message.
        init?(_ bytes: [UInt8]) {
            var fields = WireFields(bytes[...])
            while let (number, value) = fields.next() {
                switch (number, value) {
                case (1, .bytes(let host)): self.host = [UInt8](host)
                case (3, .bytes(let name)): question = .file(name: String(decoding: name, as: UTF8.self))
                case (4, .bytes(let name)): question = .symbol(String(decoding: name, as: UTF8.self))
                case (5, .bytes(let message)):
                    guard let asked = Self.fileOfExtension(message) else { return nil }
                    question = asked
                case (6, .bytes(let type)): question = .extensionNumbers(type: String(decoding: type, as: UTF8.self))
                case (7, .bytes): question = .services
                default: break
                }
            }
            guard fields.isAtEnd else { return nil }
        }

        private static func fileOfExtension(_ bytes: ArraySlice<UInt8>) -> Question? {
            var type = ""
            var number: Int32 = 0
            var fields = WireFields(bytes)
            while let (field, value) = fields.next() {
                switch (field, value) {
                case (1, .bytes(let name)): type = String(decoding: name, as: UTF8.self)
                case (2, .number(let value)): number = Int32(truncatingIfNeeded: value)
                default: break
                }
            }
            return fields.isAtEnd ? .fileOfExtension(type: type, number: number) : nil
        }
    }

    /// What a `ServerReflectionResponse` says.
    enum Answer {
        case files([[UInt8]])
        case extensionNumbers(type: String, [Int32])
        case services([String])
        case notFound(String)
    }

    /// A `ServerReflectionResponse` to a request of these bytes.
    static func response(_ answer: Answer, host: [UInt8], request: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        if !host.isEmpty { append(1, host, to: &bytes) }
        append(2, request, to: &bytes)
        var body: [UInt8] = []
        switch answer {
        case .files(let files):
            for file in files { append(1, file, to: &body) }
            append(4, body, to: &bytes)
        case .extensionNumbers(let type, let numbers):
            append(1, [UInt8](type.utf8), to: &body)
            for number in numbers {
                body.append(2 << 3)
                append(varint: UInt64(bitPattern: Int64(number)), to: &body)
            }
            append(5, body, to: &bytes)
        case .services(let names):
            for name in names {
                var service: [UInt8] = []
                append(1, [UInt8](name.utf8), to: &service)
                append(1, service, to: &body)
            }
            append(6, body, to: &bytes)
        case .notFound(let message):
            body += [1 << 3, GRPCCode.notFound.rawValue]
            append(2, [UInt8](message.utf8), to: &body)
            append(7, body, to: &bytes)
        }
        return bytes
    }

    private static func append(_ field: UInt8, _ value: [UInt8], to bytes: inout [UInt8]) {
        bytes.append(field << 3 | 2)
        append(varint: UInt64(value.count), to: &bytes)
        bytes += value
    }

    private static func append(varint value: UInt64, to bytes: inout [UInt8]) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}

/// Reads the fields of a protocol buffers message one after the other.
private struct WireFields {
    enum Value {
        case number(UInt64)
        case bytes(ArraySlice<UInt8>)
    }

    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    /// False when what was left could not be read.
    var isAtEnd: Bool { rest.isEmpty }

    mutating func next() -> (field: UInt64, value: Value)? {
        var bytes = rest
        guard let tag = Self.varint(&bytes) else { return nil }
        let value: Value
        switch tag & 7 {
        case 0:
            guard let number = Self.varint(&bytes) else { return nil }
            value = .number(number)
        case 1, 5:
            let count = tag & 7 == 1 ? 8 : 4
            guard bytes.count >= count else { return nil }
            value = .bytes(bytes.prefix(count))
            bytes = bytes.dropFirst(count)
        case 2:
            guard let count = Self.varint(&bytes), count <= UInt64(bytes.count) else { return nil }
            value = .bytes(bytes.prefix(Int(count)))
            bytes = bytes.dropFirst(Int(count))
        default: return nil
        }
        rest = bytes
        return (tag >> 3, value)
    }

    private static func varint(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 70, by: 7) {
            guard let byte = bytes.popFirst() else { return nil }
            value |= UInt64(byte & 0x7f) << UInt64(shift)
            if byte < 0x80 { return value }
        }
        return nil
    }
}

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

        /// - Throws: ``WireFields/Malformed`` for bytes that are no message.
        init(_ bytes: [UInt8]) throws(WireFields.Malformed) {
            var fields = WireFields(bytes)
            while let (number, value) = try fields.next() {
                switch (number, value) {
                case (1, .bytes(let host)): self.host = fields.bytes(host)
                case (3, .bytes(let name)): question = .file(name: fields.string(name))
                case (4, .bytes(let name)): question = .symbol(fields.string(name))
                case (5, .bytes(let message)): question = try Self.fileOfExtension(fields.message(message))
                case (6, .bytes(let type)): question = .extensionNumbers(type: fields.string(type))
                case (7, .bytes): question = .services
                default: break
                }
            }
        }

        private static func fileOfExtension(_ message: WireFields) throws(WireFields.Malformed) -> Question {
            var type = ""
            var number: Int32 = 0
            var fields = message
            while let (field, value) = try fields.next() {
                switch (field, value) {
                case (1, .bytes(let name)): type = fields.string(name)
                case (2, .number(let value)): number = Int32(truncatingIfNeeded: value)
                default: break
                }
            }
            return .fileOfExtension(type: type, number: number)
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
        var writer = WireWriter()
        writer.bytes(1, host)
        writer.element(2, request)
        switch answer {
        case .files(let files):
            writer.message(4) { for file in files { $0.element(1, file) } }
        case .extensionNumbers(let type, let numbers):
            writer.message(5) {
                $0.string(1, type)
                for number in numbers { $0.number(2, Int64(number)) }
            }
        case .services(let names):
            writer.message(6) { for name in names { $0.message(1) { $0.string(1, name) } } }
        case .notFound(let message):
            writer.message(7) {
                $0.number(1, Int64(GRPCCode.notFound.rawValue))
                $0.string(2, message)
            }
        }
        return writer.bytes
    }
}

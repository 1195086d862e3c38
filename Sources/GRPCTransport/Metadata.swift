/// What travels beside the messages of a call: names in lower case, values as text, or bytes under names in `-bin`.
///
/// Names that gRPC and HTTP/2 keep for themselves never appear here. A name may stand several times.
public struct Metadata: Hashable, Sendable {
    /// One pair, as on the wire: the value of a `-bin` name is base64.
    public struct Entry: Hashable, Sendable {
        public let name: String
        public let wireValue: String
    }

    public private(set) var entries: [Entry] = []

    public init() {}

    public var isEmpty: Bool { entries.isEmpty }

    /// The first value of a name that does not end in `-bin`.
    public subscript(name: String) -> String? {
        entries.first { $0.name == name }?.wireValue
    }

    /// The first value of a name that ends in `-bin`; nil too when it is not base64.
    public func bytes(_ name: String) -> [UInt8]? {
        entries.first { $0.name == name }.flatMap { Base64.decode($0.wireValue.utf8) }
    }

    /// Adds a pair; the name must be a lower-case HTTP field name that does not end in `-bin`, the value printable ASCII.
    public mutating func add(_ name: String, _ value: String) {
        precondition(Self.isValid(name: name) && !name.hasSuffix("-bin"), "no name for a text value: \(name)")
        precondition(value.utf8.allSatisfy { $0 >= 0x20 && $0 <= 0x7e }, "not printable ASCII under \(name)")
        entries.append(Entry(name: name, wireValue: value))
    }

    /// Adds bytes; the name must be a lower-case HTTP field name that ends in `-bin`.
    public mutating func add(_ name: String, bytes: [UInt8]) {
        precondition(Self.isValid(name: name) && name.hasSuffix("-bin"), "no name for bytes: \(name)")
        entries.append(Entry(name: name, wireValue: String(decoding: Base64.encode(bytes), as: UTF8.self)))
    }

    /// What the codec has read and checked as a header field.
    mutating func received(name: UnsafeBufferPointer<UInt8>, value: UnsafeBufferPointer<UInt8>) {
        entries.append(
            Entry(name: String(decoding: name, as: UTF8.self), wireValue: String(decoding: value, as: UTF8.self)))
    }

    private static func isValid(name: String) -> Bool {
        !name.isEmpty && !name.hasPrefix("grpc-")
            && name.utf8.allSatisfy { byte in
                switch byte {
                case 0x61...0x7a, 0x30...0x39, 0x2d, 0x2e, 0x5f: true
                default: false
                }
            }
    }
}

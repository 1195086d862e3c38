/// A parameter of a statement, sent in PostgreSQL's binary notation with its type: no quoting, no guessing.
public enum SQLValue: Hashable, Sendable {
    case null
    case bool(Bool)
    case int64(Int64)
    case double(Double)
    /// Any Unicode but U+0000, which PostgreSQL's text cannot hold.
    case text(String)
    case bytes([UInt8])
    /// A JSON document for a `jsonb` column.
    case json(String)
    /// A `timestamptz` of microsecond precision; nanoseconds are cut.
    case timestamp(nanosecondsSince1970: Int64)
    case int64s([Int64])
    case texts([String])
    case jsons([String])
    case timestamps(nanosecondsSince1970: [Int64])
    /// An array of `bytea`.
    case byteStrings([[UInt8]])

    /// Type numbers from PostgreSQL's `pg_type.dat`, which never change.
    enum TypeID {
        static let bool: UInt32 = 16
        static let bytea: UInt32 = 17
        static let int8: UInt32 = 20
        static let int2: UInt32 = 21
        static let int4: UInt32 = 23
        static let text: UInt32 = 25
        static let oid: UInt32 = 26
        static let float8: UInt32 = 701
        static let timestamptz: UInt32 = 1184
        static let jsonb: UInt32 = 3802
        static let int8Array: UInt32 = 1016
        static let textArray: UInt32 = 1009
        static let timestamptzArray: UInt32 = 1185
        static let jsonbArray: UInt32 = 3807
        static let byteaArray: UInt32 = 1001
    }

    /// Zero lets the server infer the type.
    var typeID: UInt32 {
        switch self {
        case .null: 0
        case .bool: TypeID.bool
        case .int64: TypeID.int8
        case .double: TypeID.float8
        case .text: TypeID.text
        case .bytes: TypeID.bytea
        case .json: TypeID.jsonb
        case .timestamp: TypeID.timestamptz
        case .int64s: TypeID.int8Array
        case .texts: TypeID.textArray
        case .jsons: TypeID.jsonbArray
        case .timestamps: TypeID.timestamptzArray
        case .byteStrings: TypeID.byteaArray
        }
    }

    /// About as many bytes as the value takes on the wire.
    var byteCount: Int {
        switch self {
        case .null: 4
        case .bool: 5
        case .int64, .double, .timestamp: 12
        case .text(let text): 4 + text.utf8.count
        case .bytes(let bytes): 4 + bytes.count
        case .json(let text): 5 + text.utf8.count
        case .int64s(let values): 24 + 12 * values.count
        case .timestamps(let values): 24 + 12 * values.count
        case .texts(let texts), .jsons(let texts): texts.reduce(24) { $0 + 5 + $1.utf8.count }
        case .byteStrings(let values): values.reduce(24) { $0 + 4 + $1.count }
        }
    }

    /// Whether text of the value holds U+0000.
    var holdsNul: Bool {
        switch self {
        case .text(let text), .json(let text): text.utf8.contains(0)
        case .texts(let texts), .jsons(let texts): texts.contains { $0.utf8.contains(0) }
        default: false
        }
    }

    /// Appends the binary notation (`typsend` of the type), big-endian.
    ///
    /// - Returns: false for null, which has no bytes.
    func encode(into bytes: inout [UInt8]) -> Bool {
        switch self {
        case .null: return false
        case .bool(let value): bytes.append(value ? 1 : 0)
        case .int64(let value): Self.append(value, to: &bytes)
        case .double(let value): Self.append(value.bitPattern, to: &bytes)
        case .text(let text): bytes.append(contentsOf: text.utf8)
        case .bytes(let value): bytes.append(contentsOf: value)
        case .json(let text): Self.appendJSON(text, to: &bytes)
        case .timestamp(let time): Self.append(Self.microsecondsSince2000(time), to: &bytes)
        case .int64s(let values):
            Self.appendArray(values, of: TypeID.int8, to: &bytes) { Self.append($0, to: &$1) }
        case .timestamps(let values):
            Self.appendArray(values, of: TypeID.timestamptz, to: &bytes) {
                Self.append(Self.microsecondsSince2000($0), to: &$1)
            }
        case .texts(let values):
            Self.appendArray(values, of: TypeID.text, to: &bytes) { $1.append(contentsOf: $0.utf8) }
        case .byteStrings(let values):
            Self.appendArray(values, of: TypeID.bytea, to: &bytes) { $1.append(contentsOf: $0) }
        case .jsons(let values):
            Self.appendArray(values, of: TypeID.jsonb, to: &bytes) { Self.appendJSON($0, to: &$1) }
        }
        return true
    }

    /// From 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
    static let epochSeconds: Int64 = 946_684_800

    private static func microsecondsSince2000(_ nanosecondsSince1970: Int64) -> Int64 {
        (nanosecondsSince1970 / 1000) - epochSeconds * 1_000_000
    }

    /// `jsonb` begins with the version of its notation.
    private static func appendJSON(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(1)
        bytes.append(contentsOf: text.utf8)
    }

    private static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }

    /// One dimension from 1, no nulls; each element with its length before it.
    private static func appendArray<Element>(
        _ elements: [Element], of type: UInt32, to bytes: inout [UInt8],
        _ body: (Element, inout [UInt8]) -> Void
    ) {
        append(Int32(elements.isEmpty ? 0 : 1), to: &bytes)
        append(Int32(0), to: &bytes)
        append(type, to: &bytes)
        guard !elements.isEmpty else { return }
        append(Int32(elements.count), to: &bytes)
        append(Int32(1), to: &bytes)
        for element in elements {
            let start = bytes.count
            append(Int32(0), to: &bytes)
            body(element, &bytes)
            let length = UInt32(bytes.count - start - 4)
            for offset in 0..<4 { bytes[start + offset] = UInt8(truncatingIfNeeded: length >> (24 - 8 * offset)) }
        }
    }
}

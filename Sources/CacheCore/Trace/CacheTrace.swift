public import EsperTypes

/// One request as a trace keeps it.
public struct TraceRecord: Hashable, Sendable {
    /// When it was made, in microseconds since 1970.
    public var microseconds: UInt64
    /// A hash of the key; the key itself is not kept.
    public var key: UInt64
    public var bytes: UInt32
    public var costMilliseconds: UInt32
    /// Whether the memory had it.
    public var isHit: Bool

    public init(microseconds: UInt64, key: UInt64, bytes: UInt32, costMilliseconds: UInt32, isHit: Bool) {
        self.microseconds = microseconds
        self.key = key
        self.bytes = bytes
        self.costMilliseconds = costMilliseconds
        self.isHit = isHit
    }
}

/// Writes the file format of traces.
///
/// A header of 24 bytes: `EsperTrc`, the version (1) as 32 bits, the sampling ratio as 32 bits (every key of which one in so
/// many is kept), the start in microseconds since 1970 as 64 bits. Then records, without padding: microseconds since the
/// record before (a variable-length number), the key's hash (64 bits), twice the bytes plus 1 for a hit (variable), the cost
/// in milliseconds (variable). Little-endian; variable-length numbers have seven bits a byte, lowest first, and the eighth
/// bit says that more follow. A record has 11 to 28 bytes. A file that ends inside a record was cut off by a crash: what
/// stands before is whole.
public struct TraceEncoder: Sendable {
    static let magic = Array("EsperTrc".utf8)
    static let version: UInt32 = 1
    public static let headerBytes = 24
    public static let maximumRecordBytes = 10 + 8 + 5 + 5

    /// What is to be written next.
    public private(set) var bytes: [UInt8] = []
    private var last: UInt64

    /// Begins with the header.
    public init(start microseconds: UInt64, samplingRatio: UInt32 = 1) {
        last = microseconds
        bytes = Self.magic
        append(Self.version)
        append(samplingRatio)
        append(microseconds)
    }

    /// A time before that of the last record counts as that one's.
    public mutating func append(_ record: TraceRecord) {
        let now = max(last, record.microseconds)
        append(variable: now - last)
        last = now
        append(record.key)
        append(variable: UInt64(record.bytes) << 1 | (record.isHit ? 1 : 0))
        append(variable: UInt64(record.costMilliseconds))
    }

    /// The bytes since the last time.
    public mutating func take() -> [UInt8] {
        let taken = bytes
        bytes = []
        bytes.reserveCapacity(taken.count)
        return taken
    }

    private mutating func append<Value: FixedWidthInteger>(_ value: Value) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    private mutating func append(variable value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}

/// Reads what ``TraceEncoder`` wrote.
public struct TraceDecoder: Sendable {
    public let samplingRatio: UInt32
    public let startMicroseconds: UInt64
    private var reader: ByteReader
    private var last: UInt64

    public init(_ bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        for byte in TraceEncoder.magic {
            let read = try reader.read(UInt8.self)
            guard read == byte else { throw .unknownTag(UInt64(read)) }
        }
        let version = try reader.read(UInt32.self)
        guard version == TraceEncoder.version else { throw .unknownTag(UInt64(version)) }
        samplingRatio = try reader.read()
        startMicroseconds = try reader.read()
        last = startMicroseconds
        self.reader = reader
    }

    /// - Returns: Nil at the end, and where a crash has cut the file.
    /// - Throws: when what stands there is no record.
    public mutating func next() throws(DecodingError) -> TraceRecord? {
        guard reader.remaining > 0 else { return nil }
        do throws(DecodingError) {
            let step = try variable()
            let (time, overflow) = last.addingReportingOverflow(step)
            guard !overflow else { throw DecodingError.unknownTag(step) }
            let key = try reader.read(UInt64.self)
            let size = try variable()
            guard size >> 1 <= UInt64(UInt32.max) else { throw DecodingError.unknownTag(size) }
            let cost = try variable()
            guard cost <= UInt64(UInt32.max) else { throw DecodingError.unknownTag(cost) }
            last = time
            return TraceRecord(
                microseconds: time, key: key, bytes: UInt32(size >> 1), costMilliseconds: UInt32(cost),
                isHit: size & 1 == 1)
        } catch .truncated {
            return nil
        }
    }

    private mutating func variable() throws(DecodingError) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            let byte = try reader.read(UInt8.self)
            guard shift < 63 || byte <= 1 else { throw .unknownTag(UInt64(byte)) }
            value |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 { return value }
        }
        throw .unknownTag(value)
    }
}

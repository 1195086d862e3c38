/// Cuts the bytes of a stream into gRPC messages: a compression flag, a 32-bit big-endian length, the message.
///
/// The announced length is judged before anything is kept, and memory follows the bytes that have really come. What is
/// compressed is unpacked as far as the limit of a message.
package struct MessageAssembler {
    package enum Failure: Error, Hashable {
        /// The flag says compressed, and no compression was named.
        case compressed
        /// What should be gzip is not.
        case malformedGzip
        /// A compressed message becomes larger than the limit.
        case inflatesTooLarge
        /// The flag is neither 0 nor 1.
        case badFlag
        /// The announced length is above the limit.
        case tooLarge(Int)
    }

    /// What is allocated ahead of the bytes at most, so that an announced length alone costs little.
    package static let reservedBytes = 65_536
    static let prefixBytes = 5

    private var prefix: (UInt64, count: Int) = (0, 0)
    private var message: [UInt8] = []
    private var remaining = 0
    /// Whether the other end has said that its compressed messages are gzip.
    package var acceptsGzip = false

    package init() {}

    /// Whether bytes of an unfinished message have come.
    package var isMidMessage: Bool { prefix.count > 0 }

    /// How much memory the unfinished message takes.
    package var bufferedBytes: Int { message.count }

    /// Reads a chunk; `completed` gets each message that it ends, in order, and how many bytes it took on the way without
    /// its prefix.
    package mutating func append(
        _ chunk: UnsafeBufferPointer<UInt8>, maximumMessageBytes: Int,
        completed: (_ message: [UInt8], _ wireBytes: Int) -> Void
    ) throws(Failure) {
        var rest = chunk[...]
        while true {
            while prefix.count < Self.prefixBytes {
                guard let byte = rest.popFirst() else { return }
                prefix.0 = prefix.0 << 8 | UInt64(byte)
                prefix.count += 1
                if prefix.count == Self.prefixBytes { try begin(maximumMessageBytes) }
            }
            let count = min(remaining, rest.count)
            if count > 0 {
                message.append(contentsOf: rest.prefix(count))
                rest = rest.dropFirst(count)
                remaining -= count
            }
            guard remaining == 0 else { return }
            let whole = message
            let isCompressed = prefix.0 >> 32 == 1
            message = []
            prefix = (0, 0)
            completed(isCompressed ? try Self.inflate(whole, maximumMessageBytes) : whole, whole.count)
        }
    }

    private mutating func begin(_ maximumMessageBytes: Int) throws(Failure) {
        let flag = prefix.0 >> 32
        guard flag <= 1 else { throw .badFlag }
        guard flag == 0 || acceptsGzip else { throw .compressed }
        let length = Int(prefix.0 & 0xffff_ffff)
        guard length <= maximumMessageBytes else { throw .tooLarge(length) }
        remaining = length
        message.reserveCapacity(min(length, Self.reservedBytes))
    }

    private static func inflate(_ packed: [UInt8], _ maximumBytes: Int) throws(Failure) -> [UInt8] {
        do throws(Gzip.Failure) {
            return try Gzip.inflate(packed, maximumBytes: maximumBytes)
        } catch {
            switch error {
            case .malformed: throw .malformedGzip
            case .tooLarge: throw .inflatesTooLarge
            }
        }
    }
}

internal import CZlib

/// Unpacks gzip (RFC 1952) into no more memory than was agreed.
package enum Gzip {
    package enum Failure: Error, Hashable {
        /// Not gzip, cut off, or with a wrong checksum.
        case malformed
        /// There is more than the limit inside.
        case tooLarge
    }

    /// What is taken from the packed bytes in one step.
    private static let stepBytes = 16 << 10

    /// Unpacks all members of a file, one behind the other.
    ///
    /// - Complexity: stops within one step of `maximumBytes`, whatever the packed bytes would become.
    package static func inflate(_ packed: [UInt8], maximumBytes: Int) throws(Failure) -> [UInt8] {
        var stream = z_stream()
        // 15 bits of window, and 16 for a gzip header and no other.
        let version = inflateInit2_(&stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        precondition(version == Z_OK, "zlib refuses to start: \(version)")
        defer { inflateEnd(&stream) }
        let result = unpack(packed, &stream, maximumBytes)
        return try result.get()
    }

    private static func unpack(
        _ packed: [UInt8], _ stream: inout z_stream, _ maximumBytes: Int
    ) -> Result<[UInt8], Failure> {
        var unpacked: [UInt8] = []
        return packed.withUnsafeBufferPointer { input in
            withUnsafeTemporaryAllocation(of: UInt8.self, capacity: stepBytes) { step in
                stream.next_in = UnsafeMutablePointer(mutating: input.baseAddress)
                stream.avail_in = UInt32(input.count)
                while true {
                    stream.next_out = step.baseAddress
                    stream.avail_out = UInt32(stepBytes)
                    let state = CZlib.inflate(&stream, Z_NO_FLUSH)
                    let count = stepBytes - Int(stream.avail_out)
                    guard unpacked.count + count <= maximumBytes else { return .failure(.tooLarge) }
                    unpacked.append(contentsOf: UnsafeBufferPointer(start: step.baseAddress, count: count))
                    if state == Z_STREAM_END {
                        guard stream.avail_in > 0 else { return .success(unpacked) }
                        inflateReset(&stream)
                    } else if state != Z_OK || count == 0 && stream.avail_in == 0 {
                        return .failure(.malformed)
                    }
                }
            }
        }
    }
}

public import CacheCore

extension Envelope {
    private static let cacheTag: UInt8 = 31
    private static let authTag: UInt8 = 30

    /// Which names of the cache an encoded envelope may change when it is applied, or who may look them up, and its stamp: without reading
    /// the command, unless it is one of the cache.
    public static func nameChange(in payload: [UInt8]) -> (change: NameChange, stamp: UInt64) {
        guard payload.count >= headerBytes, payload[0] == version else { return (.all, 0) }
        let (flags, principalBytes, stamp) = payload.withUnsafeBytes { bytes in
            (
                bytes[1], Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self))),
                UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
            )
        }
        let tagOffset = headerBytes + (flags == 1 ? 24 : 0) + principalBytes
        guard tagOffset < payload.count, flags <= 1 else { return (.all, stamp) }
        guard payload[tagOffset] == cacheTag else { return (payload[tagOffset] == authTag ? .all : .none, stamp) }
        guard case .cache(let command)? = (try? Envelope(decoding: payload))?.command else { return (.all, stamp) }
        let names = command.changedNames
        return (names.isEmpty ? .none : .names(names.map(NameChange.mark)), stamp)
    }
}

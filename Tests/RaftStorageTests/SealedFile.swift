import EsperTypes

/// A file of a data directory with its places of checksums, as docs/formats/log.md and docs/formats/snapshot.md tell them: what was
/// changed behind them gets checksums that are right again.
struct SealedFile {
    private enum Kind { case metadata, segment, snapshot, members }

    private let kind: Kind
    /// Of a segment: where its records began before anything was changed.
    private var records: [Int] = []
    /// Of a segment: where its header's copies begin.
    private var copies: [Int] = []

    /// - Returns: nil for a file without checksums.
    init?(_ path: String, _ bytes: [UInt8]) {
        switch path {
        case let path where path.hasSuffix("/metadata"): kind = .metadata
        case let path where path.hasSuffix(".segment"): kind = .segment
        case let path where path.hasSuffix(".snapshot") || path.hasSuffix(".partial"): kind = .snapshot
        case let path where path.hasSuffix("/members"): kind = .members
        default: return nil
        }
        guard kind == .segment, bytes.count > 24, bytes.integer(at: 0, 8) == Self.segmentMagic else { return }
        let copyBytes = Int(bytes.integer(at: 12, 4))
        copies = [0, copyBytes]
        records = Self.records(of: bytes, from: 2 * copyBytes)
    }

    private static let segmentMagic: UInt64 = 0x3147_4f4c_5250_5345
    private static let recordHeaderBytes = 56
    private static let saltOffset = 56

    private static func records(of bytes: [UInt8], from start: Int) -> [Int] {
        let mark = bytes.integer(at: saltOffset + 4, 4)
        var records: [Int] = []
        var offset = start
        // Groups begin at sectors, and what is behind the end of a group may be of an earlier use of the file.
        while offset + recordHeaderBytes <= bytes.count {
            guard bytes.integer(at: offset + 4, 4) == mark else {
                offset += 8
                continue
            }
            records.append(offset)
            offset += (recordHeaderBytes + Int(bytes.integer(at: offset + 16, 4)) + 7) & ~7
        }
        return records
    }

    /// Changes a number behind the checksums to one at the edge of what it can be.
    func bend(_ bytes: inout [UInt8], using dice: inout some RandomNumberGenerator) {
        let places: [Int]
        switch kind {
        case .metadata: places = [0, 4096].flatMap { slot in Array(slot + 8..<slot + 96) }
        case .segment:
            places = copies.flatMap { Array($0 + 8..<$0 + 260) } + records.flatMap { Array($0 + 12..<$0 + 100) }
        case .snapshot: places = Array(512..<536) + Array(1024..<1200) + Array(max(0, bytes.count - 200)..<bytes.count)
        case .members: places = Array(bytes.indices)
        }
        let width = [1, 2, 4, 8].randomElement(using: &dice) ?? 1
        guard let place = places.randomElement(using: &dice), place + width <= bytes.count else { return }
        let bit = UInt64.random(in: 0...64, using: &dice)
        let value = (bit == 64 ? 0 : 1 << bit) &- UInt64.random(in: 0...2, using: &dice)
        bytes.set(value, at: place, width)
    }

    /// Makes every checksum right for what stands there now.
    func seal(_ bytes: inout [UInt8]) {
        switch kind {
        case .metadata:
            for slot in [0, 4096] where slot + 512 <= bytes.count {
                bytes.seal(at: slot + 16, over: [slot..<slot + 16, slot + 20..<slot + 512])
            }
        case .segment: sealSegment(&bytes)
        case .snapshot: sealSnapshot(&bytes)
        case .members: if bytes.count > 8 { bytes.seal(at: 0, over: [8..<bytes.count]) }
        }
    }

    private func sealSegment(_ bytes: inout [UInt8]) {
        for copy in copies where copy + 24 <= bytes.count {
            let end = copy + 24 + Int(bytes.integer(at: copy + 16, 4))
            if end <= bytes.count { bytes.seal(at: copy + 20, over: [copy..<copy + 20, copy + 24..<end]) }
        }
        guard bytes.count > Self.saltOffset + 8 else { return }
        let mark = bytes.integer(at: Self.saltOffset + 4, 4)
        let seed = CRC32C.checksum(Array(bytes[Self.saltOffset..<Self.saltOffset + 8]))
        var chain = bytes.integer(at: 20, 4)
        for record in records where record + Self.recordHeaderBytes <= bytes.count {
            let payload = record + Self.recordHeaderBytes
            let end = payload + Int(bytes.integer(at: record + 16, 4))
            bytes.set(mark, at: record + 4, 4)
            bytes.set(chain, at: record + 8, 4)
            if end <= bytes.count { bytes.seal(at: record + 12, over: [payload..<end]) }
            bytes.seal(at: record, over: [record + 4..<payload], seed: seed)
            // An idle mark is part of no chain.
            if bytes[record + 20] != 7 { chain = bytes.integer(at: record, 4) }
        }
    }

    private func sealSnapshot(_ bytes: inout [UInt8]) {
        if bytes.count >= 1028 {
            bytes.seal(at: 16, over: [0..<16])
            bytes.seal(at: 532, over: [512..<532])
            let end = 1028 + Int(bytes.integer(at: 1024, 4))
            if end + 4 <= bytes.count { bytes.seal(at: end, over: [1024..<end]) }
        }
        let trailer = bytes.count - 24
        guard trailer >= 0 else { return }
        let length = Int(truncatingIfNeeded: bytes.integer(at: trailer, 8))
        if length > 0, length <= trailer { bytes.seal(at: trailer + 8, over: [trailer - length..<trailer]) }
    }
}

extension [UInt8] {
    fileprivate func integer(at offset: Int, _ width: Int) -> UInt64 {
        self[offset..<offset + width].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    fileprivate mutating func set(_ value: UInt64, at offset: Int, _ width: Int) {
        for byte in 0..<width { self[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte)) }
    }

    fileprivate mutating func seal(at offset: Int, over ranges: [Range<Int>], seed: UInt32 = 0) {
        var crc = CRC32C(continuing: seed)
        for range in ranges { crc.update(Array(self[range])) }
        set(UInt64(crc.checksum), at: offset, 4)
    }
}

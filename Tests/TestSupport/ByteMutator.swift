/// Changes bytes as disks, networks, file systems and careless or hostile hands do. The same generator makes the same change.
public struct ByteMutator: Sendable {
    /// Others of the same kind, pieces of which may turn up in the wrong place.
    private let others: [[UInt8]]
    /// The longest stretch that is changed at once.
    private let maximumStretch: Int

    public init(others: [[UInt8]] = [], maximumStretch: Int = 1500) {
        self.others = others
        self.maximumStretch = maximumStretch
    }

    public func mutate(_ bytes: inout [UInt8], using generator: inout some RandomNumberGenerator) {
        guard !bytes.isEmpty else {
            bytes = [UInt8.random(in: 0...255, using: &generator)]
            return
        }
        let start = Int.random(in: 0..<bytes.count, using: &generator)
        let end = min(bytes.count, start + Int.random(in: 1...maximumStretch, using: &generator))
        switch Int.random(in: 0..<11, using: &generator) {
        case 0: bytes[start] ^= UInt8(1 << Int.random(in: 0..<8, using: &generator))
        case 1: for offset in start..<end { bytes[offset] = 0 }
        case 2: for offset in start..<end { bytes[offset] = UInt8.random(in: 0...255, using: &generator) }
        case 3:
            // A misdirected write: what stands elsewhere.
            let from = Int.random(in: 0...bytes.count - (end - start), using: &generator)
            bytes.replaceSubrange(start..<end, with: Array(bytes[from..<from + (end - start)]))
        case 4: bytes.removeLast(bytes.count - start)
        case 5: bytes += [UInt8](repeating: 0xff, count: end - start)
        case 6:
            // A lost write: one sector as it was when the file was new.
            let sector = start / 512 * 512
            for offset in sector..<min(sector + 512, bytes.count) { bytes[offset] = 0 }
        case 7:
            // A number at the edge of what it can be, of any width: counts and lengths above all.
            let value = Self.edges.randomElement(using: &generator)!
            let width = [1, 2, 4, 8].randomElement(using: &generator)!
            for offset in 0..<min(width, bytes.count - start) {
                bytes[start + offset] = UInt8(truncatingIfNeeded: value >> UInt64(8 * offset))
            }
        case 8: bytes.removeSubrange(start..<end)
        case 9: bytes.insert(contentsOf: Array(bytes[start..<end]), at: start)
        default:
            guard let other = others.randomElement(using: &generator), !other.isEmpty else { return }
            let from = Int.random(in: 0..<other.count, using: &generator)
            let piece = other[from..<min(other.count, from + end - start)]
            bytes.replaceSubrange(start..<min(bytes.count, start + piece.count), with: piece)
        }
    }

    private static let edges: [UInt64] = [
        0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000, .max,
    ]
}

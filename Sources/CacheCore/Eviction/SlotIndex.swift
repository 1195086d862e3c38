/// Finds the slot of a hash: open addressing with linear probing, eight bytes a place, at most two thirds full.
///
/// Of a hash the lower half counts, which must be uniform; the owner compares the keys of equal ones.
struct SlotIndex: Sendable {
    /// What one entry costs, at the fill that growing leaves on average.
    static let bytesPerEntry = 16

    /// Half a hash, and the slot + 1; 0: nothing.
    private var places = [UInt64](repeating: 0, count: 16)
    private var mask = 15
    private(set) var count = 0

    /// The slot for which `matches` holds, among those with this hash.
    @inline(__always)
    func find(_ hash: UInt64, _ matches: (Int) -> Bool) -> Int? {
        places.withUnsafeBufferPointer { places in
            let half = UInt32(truncatingIfNeeded: hash)
            var position = Int(half) & mask
            while true {
                let place = places[position]
                if place == 0 { return nil }
                if UInt32(truncatingIfNeeded: place >> 32) == half {
                    let slot = Int(UInt32(truncatingIfNeeded: place)) - 1
                    if matches(slot) { return slot }
                }
                position = (position + 1) & mask
            }
        }
    }

    mutating func insert(_ hash: UInt64, slot: Int) {
        if (count + 1) * 3 > places.count * 2 { grow() }
        put(Self.place(hash, slot))
        count += 1
    }

    /// Closes the gap by moving back what stands behind it, so that searches end at empty places.
    mutating func remove(_ hash: UInt64, slot: Int) {
        let removed = Self.place(hash, slot)
        var gap = home(of: removed)
        while places[gap] != removed {
            precondition(places[gap] != 0, "slot \(slot) is not in the index")
            gap = (gap + 1) & mask
        }
        count -= 1
        var position = gap
        while true {
            position = (position + 1) & mask
            let place = places[position]
            guard place != 0 else { break }
            // It may go into the gap unless its home lies behind the gap.
            guard (position - home(of: place)) & mask >= (position - gap) & mask else { continue }
            places[gap] = place
            gap = position
        }
        places[gap] = 0
    }

    private static func place(_ hash: UInt64, _ slot: Int) -> UInt64 { hash << 32 | UInt64(slot + 1) }

    private func home(of place: UInt64) -> Int { Int(place >> 32) & mask }

    private mutating func put(_ place: UInt64) {
        var position = home(of: place)
        while places[position] != 0 { position = (position + 1) & mask }
        places[position] = place
    }

    private mutating func grow() {
        let old = places
        places = [UInt64](repeating: 0, count: old.count * 2)
        mask = places.count - 1
        for place in old where place != 0 { put(place) }
    }
}

import DequeModule
import EsperTypes

/// Requests that wait for something, by consecutive number; amortised constant time to add, find and remove.
///
/// Numbers are never reused within one life of the process, so a late answer finds nothing. An element that stays long
/// after its neighbours went does not hold their places: it moves to a dictionary.
package struct PendingTable<Element> {
    private var slots: Deque<Element?> = []
    private var firstNumber: UInt64 = 1
    private var stragglers: [UInt64: Element] = [:]
    private let bytesOf: (Element) -> Int
    package private(set) var count = 0
    /// What all elements hold, as `bytesOf` counts it.
    package private(set) var bytes = 0

    package init(bytesOf: @escaping (Element) -> Int = { _ in 0 }) { self.bytesOf = bytesOf }

    /// The number the next element gets.
    package var nextNumber: UInt64 { firstNumber + UInt64(slots.count) }

    /// Places in use, empty ones included; never more than a small multiple of ``count``.
    package var places: Int { slots.count + stragglers.count }

    package mutating func add(_ element: Element) -> UInt64 {
        slots.append(element)
        count += 1
        bytes += bytesOf(element)
        while slots.count > 1024 + 4 * count, let first = slots.popFirst() {
            if let first { stragglers[firstNumber] = first }
            firstNumber += 1
        }
        return nextNumber - 1
    }

    package subscript(number: UInt64) -> Element? {
        get {
            guard number >= firstNumber else { return stragglers.isEmpty ? nil : stragglers[number] }
            return number < nextNumber ? slots[Int(number - firstNumber)] : nil
        }
        set {
            guard let newValue else {
                _ = remove(number)
                return
            }
            // Only what is there can be changed.
            guard number >= firstNumber else {
                guard let old = stragglers.updateValue(newValue, forKey: number) else {
                    stragglers[number] = nil
                    return
                }
                bytes += bytesOf(newValue) - bytesOf(old)
                return
            }
            guard number < nextNumber, let old = slots[Int(number - firstNumber)] else { return }
            bytes += bytesOf(newValue) - bytesOf(old)
            slots[Int(number - firstNumber)] = newValue
        }
    }

    /// Takes the element out; later calls with this number find nothing.
    package mutating func remove(_ number: UInt64) -> Element? {
        guard number >= firstNumber else {
            guard !stragglers.isEmpty, let element = stragglers.removeValue(forKey: number) else { return nil }
            count -= 1
            bytes -= bytesOf(element)
            return element
        }
        guard number < nextNumber else { return nil }
        let place = Int(number - firstNumber)
        guard let element = slots[place] else { return nil }
        slots[place] = nil
        count -= 1
        bytes -= bytesOf(element)
        while let first = slots.first, first == nil {
            slots.removeFirst()
            firstNumber += 1
        }
        return element
    }

    /// Every waiting element with its number, oldest first.
    package func forEach(_ body: (UInt64, Element) -> Void) {
        for number in stragglers.keys.sorted() {
            if let element = stragglers[number] { body(number, element) }
        }
        for (offset, slot) in slots.enumerated() {
            if let slot { body(firstNumber + UInt64(offset), slot) }
        }
    }
}

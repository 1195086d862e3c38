import DequeModule
import EsperTypes

/// Requests that wait for something, by consecutive number; constant time to add, find and remove.
///
/// Numbers are never reused within one life of the process, so a late answer finds nothing.
struct PendingTable<Element> {
    private var slots: Deque<Element?> = []
    private var firstNumber: UInt64 = 1
    private(set) var count = 0

    /// The number the next element gets.
    var nextNumber: UInt64 { firstNumber + UInt64(slots.count) }

    mutating func add(_ element: Element) -> UInt64 {
        slots.append(element)
        count += 1
        return nextNumber - 1
    }

    subscript(number: UInt64) -> Element? {
        get {
            guard number >= firstNumber, number < nextNumber else { return nil }
            return slots[Int(number - firstNumber)]
        }
        set {
            guard number >= firstNumber, number < nextNumber else { return }
            let place = Int(number - firstNumber)
            count += (newValue == nil ? 0 : 1) - (slots[place] == nil ? 0 : 1)
            slots[place] = newValue
        }
    }

    /// Takes the element out; later calls with this number find nothing.
    mutating func remove(_ number: UInt64) -> Element? {
        guard number >= firstNumber, number < nextNumber else { return nil }
        let place = Int(number - firstNumber)
        guard let element = slots[place] else { return nil }
        slots[place] = nil
        count -= 1
        while let first = slots.first, first == nil {
            slots.removeFirst()
            firstNumber += 1
        }
        return element
    }

    /// Every waiting element with its number, oldest first.
    func forEach(_ body: (UInt64, Element) -> Void) {
        for (offset, slot) in slots.enumerated() {
            if let slot { body(firstNumber + UInt64(offset), slot) }
        }
    }
}

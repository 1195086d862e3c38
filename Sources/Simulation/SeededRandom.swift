/// The one source of chance in a simulation: SplitMix64 (Steele, Lea & Flood 2014).
///
/// One seed, one sequence, on every machine and for ever: seeds stand in tests and bug reports.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }

    /// Uniform over the range, by Lemire's multiplication; the bias is below 2⁻³² for ranges below 2³².
    public mutating func int(in range: ClosedRange<Int>) -> Int {
        let width = UInt64(range.upperBound - range.lowerBound) + 1
        return range.lowerBound + Int(next().multipliedFullWidth(by: width).high)
    }

    /// True `numerator` times in `denominator`.
    public mutating func chance(_ numerator: Int, in denominator: Int) -> Bool {
        int(in: 0...denominator - 1) < numerator
    }

    /// One of the elements, each as likely as the others; nil of nothing.
    public mutating func pick<Elements: RandomAccessCollection>(_ elements: Elements) -> Elements.Element? {
        guard !elements.isEmpty else { return nil }
        return elements[elements.index(elements.startIndex, offsetBy: int(in: 0...elements.count - 1))]
    }

    /// Another generator whose sequence does not depend on how much this one is used afterwards.
    public mutating func split() -> SeededRandom { SeededRandom(seed: next()) }
}

import ArgumentParser

/// Reads a number within bounds, for options that would otherwise run for ever, divide by nothing or trap.
///
/// - Throws: ``ValidationError`` that names what is accepted.
func boundedNumber<Number: FixedWidthInteger & Sendable>(
    _ range: ClosedRange<Number>, unit: String = ""
) -> @Sendable (String) throws -> Number {
    { text in
        guard let number = Number(text), range.contains(number) else {
            throw ValidationError("a number from \(range.lowerBound) to \(range.upperBound)\(unit) is wanted")
        }
        return number
    }
}

/// A seed; the last number of all ends ranges and is none.
///
/// - Throws: ``ValidationError`` that says what is accepted.
func seedNumber(_ text: String) throws -> UInt64 { try boundedNumber(0...UInt64.max - 1)(text) }

/// A range of seeds as `A..<B`, or one seed.
///
/// - Throws: ``ValidationError`` that says what is accepted.
func seedRange(_ text: String) throws -> Range<UInt64> {
    let parts = text.split(separator: "<", maxSplits: 1, omittingEmptySubsequences: false)
    if parts.count == 2, parts[0].hasSuffix(".."), let lower = UInt64(parts[0].dropLast(2)),
        let upper = UInt64(parts[1]), lower < upper
    {
        return lower..<upper
    }
    guard parts.count == 1, let one = try? seedNumber(text) else {
        throw ValidationError("a range of seeds is written A..<B with A below B, as in 0..<1000; or give one seed")
    }
    return one..<one + 1
}

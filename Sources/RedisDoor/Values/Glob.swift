/// Patterns of `SCAN` and `KEYS`, as Redis matches them (util.c, `stringmatchlen`): `*`, `?`, `[a-z]`, `[^a]`, `\`.
package struct Glob: Sendable {
    private let pattern: [UInt8]

    package init(_ pattern: [UInt8]) { self.pattern = pattern }

    /// What every match starts with.
    package var literalPrefix: [UInt8] {
        Array(
            pattern.prefix {
                ![UInt8(ascii: "*"), UInt8(ascii: "?"), UInt8(ascii: "["), UInt8(ascii: "\\")].contains($0)
            })
    }

    /// - Complexity: O(pattern × text): after a mismatch only the last star moves on.
    package func matches(_ text: [UInt8]) -> Bool {
        var (p, t) = (0, 0)
        var star: (pattern: Int, text: Int)?
        while t < text.count {
            if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
                star = (p + 1, t)
                p += 1
            } else if let next = step(at: p, text[t]) {
                p = next
                t += 1
            } else if let last = star {
                star = (last.pattern, last.text + 1)
                p = last.pattern
                t = last.text + 1
            } else {
                return false
            }
        }
        return pattern[p...].allSatisfy { $0 == UInt8(ascii: "*") }
    }

    /// Where the pattern goes on after this byte; nil: it does not match.
    private func step(at start: Int, _ byte: UInt8) -> Int? {
        guard start < pattern.count else { return nil }
        switch pattern[start] {
        case UInt8(ascii: "?"): return start + 1
        case UInt8(ascii: "["): return set(at: start + 1, byte)
        case UInt8(ascii: "\\") where start + 1 < pattern.count:
            return pattern[start + 1] == byte ? start + 2 : nil
        case byte: return start + 1
        default: return nil
        }
    }

    private func set(at start: Int, _ byte: UInt8) -> Int? {
        var p = start
        let isNegated = p < pattern.count && pattern[p] == UInt8(ascii: "^")
        if isNegated { p += 1 }
        var isMatch = false
        while p < pattern.count, pattern[p] != UInt8(ascii: "]") {
            if pattern[p] == UInt8(ascii: "\\"), p + 1 < pattern.count {
                p += 1
                if pattern[p] == byte { isMatch = true }
                p += 1
            } else if p + 2 < pattern.count, pattern[p + 1] == UInt8(ascii: "-") {
                let (low, high) = (min(pattern[p], pattern[p + 2]), max(pattern[p], pattern[p + 2]))
                if (low...high).contains(byte) { isMatch = true }
                p += 3
            } else {
                if pattern[p] == byte { isMatch = true }
                p += 1
            }
        }
        // Without a closing bracket the pattern ends here, as in Redis.
        let end = p < pattern.count ? p + 1 : pattern.count
        return isMatch != isNegated ? end : nil
    }
}

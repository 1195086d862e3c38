/// What a value says about the time it took to make: PyTorch's remote caches write
/// `{"data": "…", "time_taken_ms": 1234}`, and an entry that took a minute is worth more memory than one that took none.
package enum KernelCost {
    private static let mark = Array("\"time_taken_ms\":".utf8)
    /// Where it can stand: before or behind the data, which alone is long.
    private static let reach = 96

    /// 0: nothing is said. Looks at the ends only, and costs the same for every size.
    package static func milliseconds(in value: [UInt8]) -> UInt32 {
        guard value.count > mark.count, value[0] == UInt8(ascii: "{"), value[value.count - 1] == UInt8(ascii: "}")
        else {
            return 0
        }
        return number(in: value[max(0, value.count - reach)...]) ?? number(in: value[..<min(reach, value.count)]) ?? 0
    }

    private static func number(in bytes: ArraySlice<UInt8>) -> UInt32? {
        guard bytes.count > mark.count else { return nil }
        for start in stride(from: bytes.endIndex - mark.count - 1, through: bytes.startIndex, by: -1) {
            guard bytes[start] == mark[0], bytes[start..<start + mark.count].elementsEqual(mark) else { continue }
            var value: UInt64 = 0
            var hasDigits = false
            for byte in bytes[(start + mark.count)...] {
                if byte == 32, !hasDigits { continue }
                guard (48...57).contains(byte) else { break }
                hasDigits = true
                value = min(value * 10 + UInt64(byte - 48), UInt64(UInt32.max))
            }
            return hasDigits ? UInt32(value) : nil
        }
        return nil
    }
}

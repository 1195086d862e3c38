package import NIOCore

/// The notation of `grpc-timeout`: at most eight digits and a unit.
///
/// Source: grpc/grpc, doc/PROTOCOL-HTTP2.md, "Timeout".
package enum GRPCTimeout {
    /// - Returns: nil when it is not well formed; never more than a hundred years.
    package static func parse(_ text: UnsafeBufferPointer<UInt8>) -> TimeAmount? {
        guard text.count >= 2, text.count <= 9 else { return nil }
        var value: Int64 = 0
        for digit in text.dropLast() {
            guard digit >= 0x30, digit <= 0x39 else { return nil }
            value = value * 10 + Int64(digit - 0x30)
        }
        let nanosecondsPerUnit: Int64
        switch text[text.count - 1] {
        case UInt8(ascii: "n"): nanosecondsPerUnit = 1
        case UInt8(ascii: "u"): nanosecondsPerUnit = 1_000
        case UInt8(ascii: "m"): nanosecondsPerUnit = 1_000_000
        case UInt8(ascii: "S"): nanosecondsPerUnit = 1_000_000_000
        case UInt8(ascii: "M"): nanosecondsPerUnit = 60_000_000_000
        case UInt8(ascii: "H"): nanosecondsPerUnit = 3_600_000_000_000
        default: return nil
        }
        // 63 bits of nanoseconds hold 292 years; the cap leaves room to add the time of now.
        let cap: Int64 = 3_153_600_000_000_000_000
        let (product, overflow) = value.multipliedReportingOverflow(by: nanosecondsPerUnit)
        return .nanoseconds(overflow ? cap : min(product, cap))
    }

    /// Rounds up to milliseconds, so that equal time-outs are equal text and cost one byte in HPACK.
    package static func format(_ timeout: TimeAmount) -> String {
        let milliseconds = max(1, (timeout.nanoseconds + 999_999) / 1_000_000)
        if milliseconds <= 99_999_999 { return "\(milliseconds)m" }
        return "\(min(milliseconds / 1000, 99_999_999))S"
    }
}

/// What may follow the value of `SET`, and the key of `GETEX`.
struct SetOptions: Sendable {
    enum Condition: Sendable {
        case none
        case absent
        case present
    }

    struct Failure: Error {
        var reply: Reply
    }

    var condition = Condition.none
    var returnsOld = false
    var lifetime = TenantKeyspace.Lifetime.forever
    /// `GETEX` without an option leaves the time as it is.
    var isUntouched = true

    /// Nothing but a key and a value.
    var isPlain: Bool {
        guard case .none = condition, !returnsOld, case .forever = lifetime else { return false }
        return true
    }

    /// - Parameter now: milliseconds since 1970.
    static func parse(
        _ words: ArraySlice<[UInt8]>, at now: UInt64, command: String, isSet: Bool
    ) -> Result<SetOptions, Failure> {
        var options = SetOptions()
        var time: (value: [UInt8], unit: Int64, isAbsolute: Bool)?
        var keeps = false
        var persists = false
        var index = words.startIndex
        while index < words.endIndex {
            let word = words[index]
            let next = index + 1 < words.endIndex ? words[index + 1] : nil
            let isTimed = time != nil || keeps || persists
            if isSet, word.isWord("NX"), options.condition != .present {
                options.condition = .absent
            } else if isSet, word.isWord("XX"), options.condition != .absent {
                options.condition = .present
            } else if isSet, word.isWord("GET") {
                options.returnsOld = true
            } else if isSet, word.isWord("KEEPTTL"), time == nil {
                keeps = true
            } else if !isSet, word.isWord("PERSIST"), !isTimed || persists {
                persists = true
            } else if let next, !isTimed, let (unit, isAbsolute) = unit(word) {
                time = (next, unit, isAbsolute)
                index += 1
            } else {
                return .failure(Failure(reply: .syntaxError))
            }
            index += 1
        }
        if keeps { options.lifetime = .kept }
        if let time {
            guard let value = Int64(redis: time.value) else { return .failure(Failure(reply: .notInteger)) }
            let (scaled, isTooLarge) = value.multipliedReportingOverflow(by: time.unit)
            let (end, overflows) = time.isAbsolute ? (scaled, false) : scaled.addingReportingOverflow(Int64(now))
            guard value > 0, !isTooLarge, !overflows else { return .failure(Failure(reply: .invalidExpiry(command))) }
            options.lifetime = .until(milliseconds: end)
        }
        options.isUntouched = time == nil && !persists
        return .success(options)
    }

    private static func unit(_ word: [UInt8]) -> (Int64, Bool)? {
        if word.isWord("EX") { return (1000, false) }
        if word.isWord("PX") { return (1, false) }
        if word.isWord("EXAT") { return (1000, true) }
        if word.isWord("PXAT") { return (1, true) }
        return nil
    }
}

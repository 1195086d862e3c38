/// Text as it stands in paths, queries and forms (WHATWG URL, sections 1.3 and 5.1).
package enum FormText {
    /// - Parameter isForm: a plus sign stands for a space, as it does everywhere but in a path.
    /// - Returns: nil when an escape is broken or the text is not UTF-8.
    package static func decoded(_ text: Substring.UTF8View, isForm: Bool = true) -> String? {
        var bytes: [UInt8] = []
        var rest = text[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "+") where isForm: bytes.append(0x20)
            case UInt8(ascii: "%"):
                let digits = rest.prefix(2)
                guard digits.count == 2, let value = UInt8(String(Substring(digits)), radix: 16) else { return nil }
                rest = rest.dropFirst(2)
                bytes.append(value)
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

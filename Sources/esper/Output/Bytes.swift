import Foundation

/// Keys and values are bytes; people and programs get text where they are text.
package enum Bytes {
    static func of(_ text: String) -> [UInt8] { [UInt8](text.utf8) }

    static func text(_ bytes: [UInt8]) -> String? { String(validating: bytes, as: UTF8.self) }

    /// The text, or what is not text with `\x` for its odd bytes.
    package static func readable(_ bytes: [UInt8]) -> String {
        if let text = text(bytes), !text.unicodeScalars.contains(where: { $0.value < 0x20 }) { return text }
        return bytes.map { byte in
            (0x20..<0x7f).contains(byte)
                ? String(UnicodeScalar(byte)) : "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }.joined()
    }

    /// `NAME` as text; null where it is no text, with the bytes as `NAME_base64`.
    package static func fields(_ name: String, _ bytes: [UInt8]) -> [JSON.Field] {
        if let text = text(bytes) { return [.init(name: name, value: .string(text))] }
        return [
            .init(name: name, value: .null),
            .init(name: "\(name)_base64", value: .string(Data(bytes).base64EncodedString())),
        ]
    }
}

/// One element of a small XML document, with all that stands in it.
///
/// Reads what stores answer: elements, attributes (which are skipped), text, the five named entities and numbered ones,
/// `CDATA`, comments and the declaration. Anything else is refused, above all document types, which can define entities.
package struct XMLElement: Equatable, Sendable {
    package struct Failure: Error, Equatable {
        package var message: String
    }

    /// Without its namespace.
    package var name: String
    /// Directly in it, without what its children have.
    package var text: String
    package var children: [XMLElement]

    package static let maximumDepth = 16

    /// The root element.
    package init(document: [UInt8]) throws(Failure) {
        var reader = XMLReader(document)
        self = try reader.document()
    }

    init(name: String, text: String, children: [XMLElement]) {
        self.name = name
        self.text = text
        self.children = children
    }

    package func all(_ name: String) -> [XMLElement] { children.filter { $0.name == name } }

    /// The text of the only child of this name; nil when there is none.
    package func text(of name: String) -> String? {
        let found = all(name)
        return found.count == 1 ? found[0].text : nil
    }
}

/// Walks over the bytes of a document once.
private struct XMLReader {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() throws(XMLElement.Failure) -> XMLElement {
        // A mark of the byte order, which UTF-8 does not need.
        _ = skip([0xef, 0xbb, 0xbf])
        skipBlanks()
        if skip("<?xml") { try skipPast("?>", "the declaration") }
        try skipMiscellaneous()
        guard skip("<") else { throw failure("no element") }
        let root = try element(depth: 1)
        try skipMiscellaneous()
        guard position == bytes.count else { throw failure("something behind the document") }
        return root
    }

    /// Behind its `<`.
    private mutating func element(depth: Int) throws(XMLElement.Failure) -> XMLElement {
        guard depth <= XMLElement.maximumDepth else { throw failure("elements nest too deep") }
        let name = try readName()
        if try skipAttributes() { return XMLElement(name: Self.local(name), text: "", children: []) }
        var text: [UInt8] = []
        var children: [XMLElement] = []
        while position < bytes.count {
            if skip("</") {
                guard try readName() == name else { throw failure("'\(name)' is closed by another name") }
                skipBlanks()
                guard skip(">") else { throw failure("the end of '\(name)' does not end") }
                guard let text = String(validating: text, as: UTF8.self) else {
                    throw failure("text that is not UTF-8")
                }
                return XMLElement(name: Self.local(name), text: text, children: children)
            } else if skip("<!--") {
                try skipPast("-->", "a comment")
            } else if skip("<![CDATA[") {
                let start = position
                try skipPast("]]>", "a section")
                text += bytes[start..<position - 3]
            } else if skip("<") {
                children.append(try element(depth: depth + 1))
            } else if skip("&") {
                text += try entity()
            } else {
                text.append(bytes[position])
                position += 1
            }
        }
        throw failure("'\(name)' does not end")
    }

    /// - Returns: whether the element ends here.
    private mutating func skipAttributes() throws(XMLElement.Failure) -> Bool {
        while true {
            skipBlanks()
            if skip("/>") { return true }
            if skip(">") { return false }
            _ = try readName()
            skipBlanks()
            guard skip("=") else { throw failure("an attribute without a value") }
            skipBlanks()
            if skip("\"") {
                try skipPast("\"", "an attribute")
            } else if skip("'") {
                try skipPast("'", "an attribute")
            } else {
                throw failure("an attribute without quotes")
            }
        }
    }

    /// Behind its `&`.
    private mutating func entity() throws(XMLElement.Failure) -> [UInt8] {
        let start = position
        try skipPast(";", "an entity")
        let name = String(decoding: bytes[start..<position - 1], as: UTF8.self)
        switch name {
        case "lt": return Array("<".utf8)
        case "gt": return Array(">".utf8)
        case "amp": return Array("&".utf8)
        case "quot": return Array("\"".utf8)
        case "apos": return Array("'".utf8)
        default:
            let digits = name.dropFirst(name.hasPrefix("#x") ? 2 : 1)
            guard name.hasPrefix("#"), let number = UInt32(digits, radix: name.hasPrefix("#x") ? 16 : 10),
                digits.first != "+", let scalar = Unicode.Scalar(number)
            else { throw failure("the entity '\(name.prefix(20))' is not known") }
            return Array(String(Character(scalar)).utf8)
        }
    }

    private mutating func readName() throws(XMLElement.Failure) -> String {
        let start = position
        while position < bytes.count, Self.isNameByte(bytes[position]) { position += 1 }
        guard position > start else { throw failure("a name is missing") }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
            UInt8(ascii: ":"):
            true
        default: false
        }
    }

    private static func local(_ name: String) -> String {
        name.split(separator: ":").last.map(String.init) ?? name
    }

    private mutating func skipMiscellaneous() throws(XMLElement.Failure) {
        skipBlanks()
        while skip("<!--") {
            try skipPast("-->", "a comment")
            skipBlanks()
        }
    }

    private mutating func skipBlanks() {
        while position < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[position]) { position += 1 }
    }

    private mutating func skip(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { skip(Array($0)) }
    }

    private mutating func skip(_ expected: [UInt8]) -> Bool {
        guard bytes[position...].starts(with: expected) else { return false }
        position += expected.count
        return true
    }

    private mutating func skipPast(_ end: StaticString, _ what: String) throws(XMLElement.Failure) {
        while position < bytes.count {
            if skip(end) { return }
            position += 1
        }
        throw failure("\(what) does not end")
    }

    private func failure(_ message: String) -> XMLElement.Failure {
        XMLElement.Failure(message: "\(message), at byte \(position)")
    }
}

/// A JSON document as bytes; for the tests of its decoder.
package enum JSONDocument {
    /// The document read and written again; nil when the bytes are none.
    package static func again(_ bytes: [UInt8]) -> [UInt8]? {
        (try? JSONParser.parse(bytes)).map { Array($0.serialized.utf8) }
    }
}

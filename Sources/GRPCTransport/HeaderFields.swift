internal import CNghttp2

/// A header list under construction, laid out for libnghttp2; one per connection, used again for each list.
struct HeaderFields {
    private var storage: [UInt8] = []
    private var fields: [(name: Int, nameBytes: Int, valueBytes: Int)] = []

    mutating func removeAll() {
        storage.removeAll(keepingCapacity: true)
        fields.removeAll(keepingCapacity: true)
    }

    mutating func add(_ name: StaticString, _ value: some Collection<UInt8>) {
        let start = storage.count
        name.withUTF8Buffer { storage.append(contentsOf: $0) }
        let nameBytes = storage.count - start
        storage.append(contentsOf: value)
        fields.append((start, nameBytes, storage.count - start - nameBytes))
    }

    mutating func add(_ name: StaticString, _ value: String) { add(name, value.utf8) }

    mutating func add(_ metadata: Metadata) {
        for entry in metadata.entries {
            let start = storage.count
            storage.append(contentsOf: entry.name.utf8)
            let nameBytes = storage.count - start
            storage.append(contentsOf: entry.wireValue.utf8)
            fields.append((start, nameBytes, storage.count - start - nameBytes))
        }
    }

    /// Lends the list; libnghttp2 copies names and values before `body` returns.
    mutating func withFields<Result>(_ body: (UnsafePointer<nghttp2_nv>, Int) -> Result) -> Result {
        storage.withUnsafeMutableBufferPointer { bytes in
            withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: fields.count) { list in
                for (index, field) in fields.enumerated() {
                    list.initializeElement(
                        at: index,
                        to: nghttp2_nv(
                            name: bytes.baseAddress! + field.name,
                            value: bytes.baseAddress! + field.name + field.nameBytes,
                            namelen: field.nameBytes, valuelen: field.valueBytes,
                            flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue)))
                }
                return body(UnsafePointer(list.baseAddress!), fields.count)
            }
        }
    }
}

/// Header lists that never change, kept for the life of the process so that libnghttp2 need not copy them.
enum FixedFields {
    /// What every answer with messages begins with.
    ///
    /// Written once before anybody reads it and never after: a constant in all but type.
    nonisolated(unsafe) static let response: (UnsafePointer<nghttp2_nv>, Int) = make([
        (":status", "200"), ("content-type", "application/grpc"),
    ])

    /// The trailers of every call that succeeded. The same holds as for ``response``.
    nonisolated(unsafe) static let success: (UnsafePointer<nghttp2_nv>, Int) = make([("grpc-status", "0")])

    private static func make(_ pairs: [(StaticString, StaticString)]) -> (UnsafePointer<nghttp2_nv>, Int) {
        let list = UnsafeMutablePointer<nghttp2_nv>.allocate(capacity: pairs.count)
        for (index, pair) in pairs.enumerated() {
            (list + index).initialize(
                to: nghttp2_nv(
                    name: UnsafeMutablePointer(mutating: pair.0.utf8Start),
                    value: UnsafeMutablePointer(mutating: pair.1.utf8Start),
                    namelen: pair.0.utf8CodeUnitCount, valuelen: pair.1.utf8CodeUnitCount,
                    flags: UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue)))
        }
        return (UnsafePointer(list), pairs.count)
    }
}

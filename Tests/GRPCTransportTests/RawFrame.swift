import CNghttp2

/// One frame of HTTP/2 as it was read.
struct RawFrame: Hashable {
    var type: UInt8
    var flags: UInt8
    var stream: Int
    var payload: [UInt8]
}

extension [UInt8] {
    /// The whole frames at the beginning of these bytes.
    var frames: [RawFrame] {
        var frames: [RawFrame] = []
        var start = 0
        while count - start >= 9 {
            let length = Int(self[start]) << 16 | Int(self[start + 1]) << 8 | Int(self[start + 2])
            guard count - start - 9 >= length else { break }
            let stream = self[start + 5..<start + 9].reduce(0) { $0 << 8 | Int($1) } & 0x7fff_ffff
            frames.append(
                RawFrame(
                    type: self[start + 3], flags: self[start + 4], stream: stream,
                    payload: [UInt8](self[start + 9..<start + 9 + length])))
            start += 9 + length
        }
        return frames
    }
}

extension [RawFrame] {
    /// The header fields of a stream, headers and trailers together; all frames of its connection must be here.
    func fields(stream: Int) -> [String: String] {
        var inflater: OpaquePointer?
        guard nghttp2_hd_inflate_new(&inflater) == 0 else { return [:] }
        defer { nghttp2_hd_inflate_del(inflater) }
        var found: [String: String] = [:]
        for frame in self where frame.type == 1 || frame.type == 9 {
            frame.payload.withUnsafeBufferPointer { bytes in
                var rest = bytes[...]
                var flags: Int32 = 0
                while true {
                    var field = nghttp2_nv()
                    let count = nghttp2_hd_inflate_hd2(
                        inflater, &field, &flags, rest.isEmpty ? nil : bytes.baseAddress! + rest.startIndex, rest.count,
                        1)
                    guard count >= 0 else { return }
                    rest = rest.dropFirst(count)
                    if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0, frame.stream == stream {
                        let name = String(
                            decoding: UnsafeBufferPointer(start: field.name, count: field.namelen), as: UTF8.self)
                        found[name] = String(
                            decoding: UnsafeBufferPointer(start: field.value, count: field.valuelen), as: UTF8.self)
                    }
                    if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 {
                        nghttp2_hd_inflate_end_headers(inflater)
                        return
                    }
                    if count == 0, flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) == 0 { return }
                }
            }
        }
        return found
    }
}

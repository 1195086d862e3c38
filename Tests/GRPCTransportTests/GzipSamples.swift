import CZlib

/// Packs with zlib as a client does.
func gzipped(_ bytes: [UInt8]) -> [UInt8] {
    var stream = z_stream()
    let state = deflateInit2_(
        &stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    precondition(state == Z_OK, "zlib refuses to start: \(state)")
    defer { deflateEnd(&stream) }
    var packed = [UInt8](repeating: 0, count: Int(deflateBound(&stream, UInt(bytes.count))) + 64)
    var source = bytes
    let count = packed.withUnsafeMutableBufferPointer { target in
        source.withUnsafeMutableBufferPointer { source in
            stream.next_in = source.baseAddress
            stream.avail_in = UInt32(source.count)
            stream.next_out = target.baseAddress
            stream.avail_out = UInt32(target.count)
            let state = deflate(&stream, Z_FINISH)
            precondition(state == Z_STREAM_END, "zlib does not finish: \(state)")
            return target.count - Int(stream.avail_out)
        }
    }
    return [UInt8](packed.prefix(count))
}

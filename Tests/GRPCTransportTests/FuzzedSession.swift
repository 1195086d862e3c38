import CNghttp2

/// Makes sessions of HTTP/2 out of a seed: right at first, then with a few faults.
struct FuzzedSession {
    private var random: SplitMix

    init(seed: UInt64) { random = SplitMix(state: seed &* 0x9e37_79b9 &+ 1) }

    // MARK: Whole sessions

    /// What a client says, its preface included.
    mutating func clientBytes() -> [UInt8] {
        var frames = [RawClient.frame(4, [0, 4, 0, 1, 0, 0])]
        let encoder = HeaderEncoder()
        let calls = Int.random(in: 1...12, using: &random)
        for number in 0..<calls {
            let stream = UInt32(number * 2 + 1)
            frames += headers(encoder.encode(request()), stream: stream, ends: chance(10))
            // One message for most: a unary method takes no more.
            for _ in 0..<(chance(3) ? Int.random(in: 1...3, using: &random) : 0) {
                frames.append(data(message(), stream: stream, ends: false))
                if chance(4) { frames.append(nuisance(stream: stream)) }
            }
            frames.append(data(message(), stream: stream, ends: chance(5, of: 6)))
        }
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let stream = UInt32(Int.random(in: 0..<calls, using: &random) * 2 + 1)
            frames.append(chance(2) ? nuisance(stream: stream) : data(message(), stream: stream, ends: true))
        }
        spoil(&frames)
        var preface = RawClient.preface
        if chance(50) { preface[Int.random(in: 0..<preface.count, using: &random)] ^= 0x20 }
        return preface + spoilt(frames.flatMap { $0 })
    }

    /// What a server says to eight calls, after its settings.
    mutating func serverBytes() -> [UInt8] {
        var frames: [[UInt8]] = []
        let encoder = HeaderEncoder()
        for number in 0..<8 {
            let stream = UInt32(number * 2 + 1)
            frames += headers(
                encoder.encode([(":status", "200"), ("content-type", "application/grpc"), ("x-note", "\(number)")]),
                stream: stream, ends: false)
            for _ in 0..<(number % 2 == 0 ? 1 : Int.random(in: 0...4, using: &random)) {
                frames.append(data(message(), stream: stream, ends: false))
                if chance(6) { frames.append(nuisance(stream: stream)) }
            }
            let status = chance(4) ? "5" : "0"
            frames += headers(
                encoder.encode([("grpc-status", status), ("grpc-message", "%41 b"), ("t-bin", "AQID")]), stream: stream,
                ends: true)
        }
        spoil(&frames)
        return spoilt(frames.flatMap { $0 })
    }

    /// The same bytes in pieces of any size.
    mutating func pieces(of bytes: [UInt8]) -> [[UInt8]] {
        var pieces: [[UInt8]] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = chance(3) ? Int.random(in: 1...20, using: &random) : Int.random(in: 1...5000, using: &random)
            pieces.append([UInt8](rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        return pieces
    }

    // MARK: Parts

    private mutating func request() -> [(String, String)] {
        let method = EchoService.Method.allCases.randomElement(using: &random) ?? .unary
        var fields = [
            (":method", "POST"), (":scheme", "https"),
            (":path", chance(20) ? "/nobody.Knows/this" : method.path(of: chance(2) ? "test.Echo" : "other.Echo")),
            (":authority", "x"), ("te", "trailers"), ("content-type", "application/grpc"),
        ]
        if chance(4) { fields.append(("grpc-timeout", "\(Int.random(in: 1...99, using: &random))m")) }
        if chance(4) { fields.append(("grpc-encoding", chance(4) ? "snappy" : "gzip")) }
        if chance(4) {
            fields.append(("x-more", String(repeating: "m", count: Int.random(in: 0...3000, using: &random))))
        }
        if chance(4) { fields.append(("bytes-bin", "AQIDBA")) }
        return fields
    }

    /// A message with its prefix; some are calls of `expand`, some packed.
    private mutating func message() -> [UInt8] {
        var message = [UInt8](repeating: 7, count: Int.random(in: 0...(chance(10) ? 9000 : 60), using: &random))
        if chance(3) { message = EchoService.expansion(count: Int.random(in: 0...40, using: &random), bytes: 2000) }
        let isPacked = chance(5)
        if isPacked { message = gzipped(message) }
        return [isPacked ? 1 : 0] + withUnsafeBytes(of: UInt32(message.count).bigEndian) { [UInt8]($0) } + message
    }

    private mutating func data(_ bytes: [UInt8], stream: UInt32, ends: Bool) -> [UInt8] {
        guard chance(8) else { return RawClient.frame(0, flags: ends ? 1 : 0, stream: stream, bytes) }
        let padding = UInt8.random(in: 0...30, using: &random)
        return RawClient.frame(
            0, flags: ends ? 9 : 8, stream: stream, [padding] + bytes + [UInt8](repeating: 0, count: Int(padding)))
    }

    /// HEADERS, sometimes with CONTINUATION.
    private mutating func headers(_ block: [UInt8], stream: UInt32, ends: Bool) -> [[UInt8]] {
        let end: UInt8 = ends ? 1 : 0
        guard chance(5), block.count > 4 else { return [RawClient.frame(1, flags: 4 | end, stream: stream, block)] }
        let cut = Int.random(in: 1..<block.count, using: &random)
        return [
            RawClient.frame(1, flags: end, stream: stream, [UInt8](block.prefix(cut))),
            RawClient.frame(9, flags: 4, stream: stream, [UInt8](block.dropFirst(cut))),
        ]
    }

    private mutating func nuisance(stream: UInt32) -> [UInt8] {
        switch Int.random(in: 0..<9, using: &random) {
        case 0: RawClient.frame(3, stream: stream, [0, 0, 0, 8])
        case 1: RawClient.frame(8, stream: stream, [0, 1, 0, 0])
        case 2: RawClient.frame(8, [0, 1, 0, 0])
        case 3: RawClient.frame(6, [1, 2, 3, 4, 5, 6, 7, 8])
        case 4: RawClient.frame(4, [0, 4, 0, 0, UInt8.random(in: 0...255, using: &random), 0])
        case 5: RawClient.frame(2, stream: stream, [0, 0, 0, 3, 200])
        case 6: RawClient.frame(6, flags: 1, [2, 0, 0, 0, 0, 0, 0, 0])
        case 7: RawClient.frame(0xfa, stream: stream, [1, 2, 3])
        default: RawClient.frame(7, [0, 0, 0, 0, 0, 0, 0, 0])
        }
    }

    // MARK: Faults

    /// Frames lost, doubled, moved, and with another head.
    private mutating func spoil(_ frames: inout [[UInt8]]) {
        for _ in 0..<Int.random(in: 0...3, using: &random) where frames.count > 1 {
            let place = Int.random(in: 0..<frames.count, using: &random)
            switch Int.random(in: 0..<7, using: &random) {
            case 0: frames.remove(at: place)
            case 1: frames.insert(frames[place], at: Int.random(in: 0...frames.count, using: &random))
            case 2: frames.swapAt(place, Int.random(in: 0..<frames.count, using: &random))
            case 3: frames[place][3] = UInt8.random(in: 0...12, using: &random)
            case 4: frames[place][4] = UInt8.random(in: 0...255, using: &random)
            case 5: frames[place][8] = UInt8.random(in: 0...30, using: &random)
            default: frames[place][2] ^= UInt8.random(in: 0...255, using: &random)
            }
        }
    }

    /// Bits and bytes anywhere.
    private mutating func spoilt(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        guard chance(2), !bytes.isEmpty else { return bytes }
        for _ in 0..<Int.random(in: 1...4, using: &random) where bytes.count > 1 {
            let place = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: bytes[place] = UInt8.random(in: 0...255, using: &random)
            case 2: bytes.remove(at: place)
            default: if chance(4) { bytes.removeLast(bytes.count - place) }
            }
        }
        return bytes
    }

    /// One in so many, or so many of so many.
    private mutating func chance(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &random) == 0 }

    private mutating func chance(_ some: Int, of count: Int) -> Bool {
        Int.random(in: 0..<count, using: &random) < some
    }
}

/// Compresses header lists as a real peer does: a dynamic table, Huffman coding.
private final class HeaderEncoder {
    private var deflater: OpaquePointer?

    init() { precondition(nghttp2_hd_deflate_new(&deflater, 4096) == 0, "out of memory") }

    deinit { nghttp2_hd_deflate_del(deflater) }

    func encode(_ fields: [(String, String)]) -> [UInt8] {
        var texts = fields.map { ([UInt8]($0.0.utf8), [UInt8]($0.1.utf8)) }
        var list: [nghttp2_nv] = []
        var storage: [UnsafeMutablePointer<UInt8>] = []
        defer { for pointer in storage { pointer.deallocate() } }
        for index in texts.indices {
            let pointers = [texts[index].0, texts[index].1].map { bytes in
                let pointer = UnsafeMutablePointer<UInt8>.allocate(capacity: max(bytes.count, 1))
                pointer.initialize(from: bytes, count: bytes.count)
                storage.append(pointer)
                return pointer
            }
            list.append(
                nghttp2_nv(
                    name: pointers[0], value: pointers[1], namelen: texts[index].0.count,
                    valuelen: texts[index].1.count, flags: 0))
        }
        texts = []
        var block = [UInt8](repeating: 0, count: nghttp2_hd_deflate_bound(deflater, list, list.count))
        let count = nghttp2_hd_deflate_hd(deflater, &block, block.count, list, list.count)
        return [UInt8](block.prefix(max(count, 0)))
    }
}

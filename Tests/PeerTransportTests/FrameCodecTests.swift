import EsperTypes
import NIOCore
import PeerTransport
import RaftCore
import Testing

@Suite struct FrameCodecTests {
    private func decodeAll(_ bytes: ByteBuffer) throws -> [IncomingFrame] {
        var decoder = FrameDecoder()
        decoder.feed(bytes)
        var frames: [IncomingFrame] = []
        while let frame = try decoder.next(limit: Limits.peerFrameBytes) { frames.append(frame) }
        #expect(decoder.bufferedBytes == 0)
        return frames
    }

    @Test func `every frame comes back as it was sent`() throws {
        for (frame, bytes) in allFrames { #expect(try decodeAll(bytes) == [frame]) }
    }

    @Test func `frames behind one another come back in order`() throws {
        var all = ByteBuffer()
        for (_, bytes) in allFrames { all.writeImmutableBuffer(bytes) }
        #expect(try decodeAll(all) == allFrames.map(\.0))
    }

    @Test func `a stream may be cut between any two bytes`() throws {
        var all = ByteBuffer()
        for (_, bytes) in allFrames { all.writeImmutableBuffer(bytes) }
        for piece in [1, 2, 3, 7, 64] {
            var decoder = FrameDecoder()
            var frames: [IncomingFrame] = []
            var rest = all
            while rest.readableBytes > 0 {
                decoder.feed(rest.readSlice(length: min(piece, rest.readableBytes))!)
                while let frame = try decoder.next(limit: Limits.peerFrameBytes) { frames.append(frame) }
                decoder.settle()
            }
            #expect(frames == allFrames.map(\.0))
            #expect(decoder.bufferedBytes == 0)
        }
    }

    @Test func `a frame that is not all there waits for the rest`() throws {
        for (_, bytes) in allFrames {
            for length in 0..<bytes.readableBytes {
                var decoder = FrameDecoder()
                decoder.feed(bytes.getSlice(at: 0, length: length)!)
                #expect(try decoder.next(limit: Limits.peerFrameBytes) == nil)
            }
        }
    }

    @Test func `a flipped bit never passes for a frame`() {
        for (_, bytes) in allFrames {
            for position in 0..<bytes.readableBytes {
                for bit in 0..<8 {
                    var damaged = bytes
                    damaged.setInteger(bytes.getInteger(at: position, as: UInt8.self)! ^ 1 << bit, at: position)
                    var decoder = FrameDecoder()
                    decoder.feed(damaged)
                    // A longer length waits for bytes that never come; everything else is an error.
                    let frame = try? decoder.next(limit: Limits.peerFrameBytes)
                    #expect(frame == nil)
                }
            }
        }
    }

    @Test func `a body that ends early or late is malformed, whatever its checksum says`() {
        for (frame, bytes) in allFrames {
            let whole = body(of: bytes)
            for length in 1..<whole.count {
                let error = #expect(throws: FrameError.self, "\(frame) cut at \(length)") {
                    try decodeAll(sealed(whole.prefix(length)))
                }
                guard case .malformed? = error else { Issue.record("\(String(describing: error))"); continue }
            }
            if case .hello = frame { continue }
            #expect(throws: FrameError.malformed(.trailingBytes(1))) { try decodeAll(sealed(whole + [0])) }
        }
    }

    @Test func `a hello of a later version may carry more`() throws {
        var bytes = ByteBuffer()
        hello.append(to: &bytes)
        #expect(try decodeAll(sealed(body(of: bytes) + [1, 2, 3])) == [.hello(hello)])
    }

    @Test func `a term that no cluster comes to is malformed, and any session is none`() throws {
        func append(term: UInt64, session: UInt64) -> ByteBuffer {
            var bytes = ByteBuffer()
            var encoder = FrameEncoder()
            let message = AppendEntries(
                term: Term(term), session: SessionNonce(session), readSequence: .zero, previous: .zero, commit: .zero)
            _ = encoder.append(.raft(.appendEntries(message)), to: &bytes)
            return bytes
        }
        for term in [1 << 62, 1 << 63, UInt64.max] {
            #expect(throws: FrameError.malformed(.unreachable(term))) {
                try decodeAll(append(term: term, session: 1))
            }
        }
        #expect(try decodeAll(append(term: 1 << 62 - 1, session: .max)).count == 1)
    }

    @Test func `any body at all is a frame or an error`() {
        var generator = SplitMix64(seed: 0x5eed)
        for round in 0..<200_000 {
            let kind = FrameKind.allCases[round % FrameKind.allCases.count]
            var bytes = [kind.rawValue]
            // Small values reach further into the layouts than uniform ones do.
            for _ in 0..<Int.random(in: 0...80, using: &generator) {
                bytes.append(UInt8.random(in: 0...(Bool.random(using: &generator) ? 3 : 255), using: &generator))
            }
            var decoder = FrameDecoder()
            decoder.feed(sealed(bytes))
            _ = try? decoder.next(limit: Limits.peerFrameBytes)
        }
    }

    @Test func `damaged bodies under a right checksum are frames or errors`() {
        for (_, bytes) in allFrames {
            let whole = body(of: bytes)
            for position in whole.indices {
                for value: UInt8 in [0, 1, 0x7f, 0x80, 0xff] {
                    var damaged = whole
                    damaged[position] = value
                    var decoder = FrameDecoder()
                    decoder.feed(sealed(damaged))
                    _ = try? decoder.next(limit: Limits.peerFrameBytes)
                }
            }
        }
    }

    @Test(arguments: [0, 1 << 10 + 1, 2 << 30 - 1, Int(UInt32.max)])
    func `a length outside the limit is refused before anything is kept`(length: Int) {
        var decoder = FrameDecoder()
        var header = ByteBuffer()
        header.writeInteger(UInt32(length), endianness: .little)
        header.writeInteger(0 as UInt32)
        decoder.feed(header)
        #expect(throws: FrameError.length(length)) { try decoder.next(limit: 1 << 10) }
    }

    @Test func `an announced length allocates nothing`() throws {
        var decoder = FrameDecoder()
        var header = ByteBuffer()
        header.writeInteger(UInt32(Limits.peerFrameBytes), endianness: .little)
        header.writeInteger(0 as UInt32)
        decoder.feed(header)
        #expect(try decoder.next(limit: Limits.peerFrameBytes) == nil)
        decoder.settle()
        #expect(decoder.bufferedBytes == 8)
    }

    @Test func `an announced count allocates nothing`() {
        let forward = [FrameKind.forward.rawValue] + [UInt8](repeating: 0, count: 8)
        for fields in [[FrameKind.appendEntries.rawValue], forward] {
            let error = #expect(throws: FrameError.self) {
                try decodeAll(sealed(fields + [0xff, 0xff, 0xff, 0xff] + [UInt8](repeating: 0, count: 100)))
            }
            #expect(error == .malformed(.truncated))
        }
    }

    @Test func `an unknown kind is refused`() {
        #expect(throws: FrameError.unknownKind(0x7f)) { try decodeAll(sealed([0x7f])) }
    }

    @Test func `an entry above its limit is refused`() throws {
        let largest = append(entries(1...1, payloadBytes: Limits.entryPayloadBytes))
        #expect(try decodeAll(encoded(largest)) == [.peer(largest)])
        let tooLarge = append(entries(1...1, payloadBytes: Limits.entryPayloadBytes + 1))
        #expect(throws: FrameError.malformed(.oversized(Limits.entryPayloadBytes + 1))) {
            try decodeAll(encoded(tooLarge))
        }
    }

    @Test func `the wire is as docs/formats/peer-protocol.md shows it`() {
        let bytes = Array(encoded(numbered(0x0102_0304)).readableBytesView)
        #expect(bytes[..<4] == [17, 0, 0, 0])
        #expect(bytes[8...] == [0x19, 1, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0])
        let body = Array(bytes[8...])
        #expect(
            UInt32(bytes[4]) | UInt32(bytes[5]) << 8 | UInt32(bytes[6]) << 16 | UInt32(bytes[7]) << 24
                == CRC32C.checksum(body))
        var greeting = ByteBuffer()
        hello.append(to: &greeting)
        #expect(Array(greeting.readableBytesView)[8..<17] == [0x01, 0x45, 0x53, 0x50, 0x52, 2, 0, 2, 0])
    }

    @Test func `entries for several peers are the same bytes as for one`() {
        let batch = entries(10...40, payloadBytes: 100)
        var encoder = FrameEncoder()
        for session: UInt64 in 1...3 {
            var buffer = ByteBuffer()
            let frame = append(batch, commit: session, session: session)
            #expect(encoder.append(frame, to: &buffer) == buffer.readableBytes)
            #expect(buffer == encoded(frame))
        }
        for frame in [append(entries(10...39, payloadBytes: 100)), append(entries(11...40, payloadBytes: 100))] {
            var buffer = ByteBuffer()
            _ = encoder.append(frame, to: &buffer)
            #expect(buffer == encoded(frame))
        }
    }

    @Test func `a frame may stand behind bytes that were read already`() throws {
        var (encoder, buffer) = (FrameEncoder(), ByteBuffer(string: "read"))
        buffer.moveReaderIndex(forwardBy: 4)
        _ = encoder.append(append(entries(1...3)), to: &buffer)
        #expect(try decodeAll(buffer) == [.peer(append(entries(1...3)))])
    }
}

import CacheCore
import EsperTypes
import Testing

struct CacheTraceTests {
    private static func trace(_ count: Int, seed: UInt64) -> (bytes: [UInt8], records: [TraceRecord]) {
        var generator = SplitMix64(seed: seed)
        var time: UInt64 = 1_700_000_000_000_000
        var encoder = TraceEncoder(start: time, samplingRatio: 8)
        let records = (0..<count).map { _ in
            time += generator.next() >> (generator.next() % 40 + 24)
            return TraceRecord(
                microseconds: time, key: generator.next(), bytes: UInt32(truncatingIfNeeded: generator.next()),
                costMilliseconds: UInt32(truncatingIfNeeded: generator.next() >> (generator.next() % 64)),
                isHit: generator.next() % 2 == 0)
        }
        for record in records { encoder.append(record) }
        return (encoder.take(), records)
    }

    private static func records(_ bytes: [UInt8]) throws -> [TraceRecord] {
        var decoder = try TraceDecoder(bytes)
        var records: [TraceRecord] = []
        while let record = try decoder.next() { records.append(record) }
        return records
    }

    @Test func `what was written is read`() throws {
        let (bytes, records) = Self.trace(500, seed: 1)
        let read = try Self.records(bytes)
        let decoder = try TraceDecoder(bytes)
        #expect(read == records)
        #expect(decoder.samplingRatio == 8)
        #expect(bytes.count <= TraceEncoder.headerBytes + 500 * TraceEncoder.maximumRecordBytes)
    }

    @Test func `a file cut anywhere gives what is whole`() throws {
        let (bytes, records) = Self.trace(20, seed: 2)
        for count in TraceEncoder.headerBytes...bytes.count {
            let read = try Self.records(Array(bytes[..<count]))
            #expect(Array(records.prefix(read.count)) == read)
        }
        for count in 0..<TraceEncoder.headerBytes {
            #expect(throws: DecodingError.self) { try TraceDecoder(Array(bytes[..<count])) }
        }
    }

    @Test func `flipped bytes never trap`() throws {
        let (bytes, _) = Self.trace(20, seed: 3)
        for position in bytes.indices {
            for bit in 0..<8 {
                var flipped = bytes
                flipped[position] ^= 1 << bit
                _ = try? Self.records(flipped)
            }
        }
    }
}

import CacheCore
import Foundation
import Testing

/// Miss counts that others have published for fixed files. The files are theirs and do not come with this program: a test
/// runs when the environment says where its file is.
struct PublishedTraceTests {
    /// The sample of the CloudPhysics traces in the artefact of the S3-FIFO paper, `data/trace.oracleGeneral.bin`.
    static let sample = ProcessInfo.processInfo.environment["ESPER_TRACE_CLOUDPHYSICS"]
    /// The file `mydata/zipf/zipf_1.0` in the artefact of the SIEVE paper.
    static let zipf = ProcessInfo.processInfo.environment["ESPER_TRACE_ZIPF"]

    private static func misses(_ policy: EvictionPolicy, _ requests: [CacheRequest], capacity: UInt64) -> UInt64 {
        var model = CacheModel(policy: policy, capacity: capacity)
        for request in requests { model.request(request) }
        return model.counts.misses
    }

    @Test(.enabled(if: zipf != nil, "ESPER_TRACE_ZIPF names no file"))
    func `FIFO and LRU miss the fixed Zipf file as often as published`() throws {
        let text = try String(contentsOfFile: try #require(Self.zipf), encoding: .utf8)
        let requests = text.split(whereSeparator: \.isNewline).compactMap { UInt64($0) }
            .map { CacheRequest(key: $0) }
        #expect(requests.count == 1_000_000)
        let expected: [(UInt64, fifo: UInt64, lru: UInt64)] = [
            (10, 817_746, 789_421), (100, 480_197, 424_727), (500, 167_909, 132_991), (1000, 1000, 1000),
        ]
        for (capacity, fifo, lru) in expected {
            #expect(Self.misses(.fifo, requests, capacity: capacity) == fifo)
            #expect(Self.misses(.lru, requests, capacity: capacity) == lru)
        }
        for policy in EvictionPolicy.named { #expect(Self.misses(policy, requests, capacity: 1000) == 1000) }
    }

    /// From 128 MiB to 1 GiB in steps of 128 MiB.
    ///
    /// LRU, FIFO and CLOCK have one definition: exact. GDSF's ties and S3-FIFO's ghost (ours counts entries, theirs bytes)
    /// are free: their counts may differ by three of a hundred.
    static let published: [(policy: EvictionPolicy, misses: [UInt64], tolerance: Double)] = [
        (.lru, [93_374, 89_783, 83_572, 81_722, 72_494, 72_104, 71_972, 71_704], 0),
        (.fifo, [93_403, 89_386, 84_387, 84_025, 72_498, 72_228, 72_182, 72_140], 0),
        (.clock, [93_313, 89_775, 83_411, 81_328, 74_815, 72_283, 71_927, 64_456], 0),
        (.cost, [89_068, 84_750, 74_853, 70_488, 67_919, 64_180, 61_029, 58_721], 0.03),
        (.s3fifo, [89_307, 82_387, 77_041, 76_791, 71_300, 70_343, 70_455, 70_355], 0.03),
    ]

    @Test(.enabled(if: sample != nil, "ESPER_TRACE_CLOUDPHYSICS names no file"))
    func `policies miss the CloudPhysics sample as often as published`() throws {
        let data = try Data(contentsOf: URL(fileURLWithPath: try #require(Self.sample)))
        let requests = Self.oracleGeneral([UInt8](data))
        #expect(requests.count == 113_872)
        for (policy, expected, tolerance) in Self.published {
            for (step, misses) in expected.enumerated() {
                let measured = Self.misses(policy, requests, capacity: UInt64(step + 1) << 27)
                let difference = abs(Double(measured) - Double(misses))
                #expect(difference <= tolerance * Double(misses), "\(policy), \(step + 1): \(measured), \(misses)")
            }
        }
    }

    /// Records of 24 bytes, little-endian: time, key, size, next request.
    private static func oracleGeneral(_ bytes: [UInt8]) -> [CacheRequest] {
        bytes.withUnsafeBytes { bytes in
            stride(from: 0, through: bytes.count - 24, by: 24).map { start in
                CacheRequest(
                    key: bytes.loadUnaligned(fromByteOffset: start + 4, as: UInt64.self),
                    bytes: bytes.loadUnaligned(fromByteOffset: start + 12, as: UInt32.self))
            }
        }
    }
}

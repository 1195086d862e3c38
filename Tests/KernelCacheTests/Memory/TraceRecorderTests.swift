import CacheCore
import EsperTypes
import Foundation
import KernelCache
import Testing

struct TraceRecorderTests {
    private static func withDirectory(_ body: (String) throws -> Void) throws {
        let path = NSTemporaryDirectory() + "/trace-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    private func record(_ number: UInt64) -> TraceRecord {
        TraceRecord(microseconds: 1_000_000 + number, key: number, bytes: 10, costMilliseconds: 5, isHit: false)
    }

    private static func read(_ path: String) throws -> [UInt64] {
        var decoder = try TraceDecoder([UInt8](Data(contentsOf: URL(fileURLWithPath: path))))
        var keys: [UInt64] = []
        while let record = try decoder.next() { keys.append(record.key) }
        return keys
    }

    @Test func `what is recorded is in the file, in order, sampled by key`() throws {
        try Self.withDirectory { directory in
            let recorder = TraceRecorder(.init(path: directory + "/t", samplingRatio: 4))
            for number in 0..<100 as Range<UInt64> { recorder.record(record(number)) }
            #expect(recorder.flush())
            for number in 100..<120 as Range<UInt64> { recorder.record(record(number)) }
            #expect(recorder.flush())
            let keys = try Self.read(directory + "/t")
            #expect(keys == Array(stride(from: 0, to: 120, by: 4)))
        }
    }

    @Test func `files are rotated and each stands alone, and what finds no room is counted`() throws {
        try Self.withDirectory { directory in
            let recorder = TraceRecorder(
                .init(path: directory + "/t", maximumFileBytes: 400, maximumBufferBytes: 600))
            for round in 0..<10 as Range<UInt64> {
                for number in 0..<20 as Range<UInt64> { recorder.record(record(round * 20 + number)) }
                #expect(recorder.flush())
            }
            let previous = try Self.read(directory + "/t.1")
            let last = try Self.read(directory + "/t")
            #expect(last.last == 199)
            #expect(previous.last.map { $0 + 1 } == last.first)
            let files = try FileManager.default.contentsOfDirectory(atPath: directory)
            #expect(files.count == 2)
            for number in 0..<100 as Range<UInt64> { recorder.record(record(number)) }
            #expect(recorder.dropped > 0 && recorder.dropped + recorder.recorded == 300)
        }
    }

    @Test func `a file that cannot be written ends the trace and nothing else`() {
        let recorder = TraceRecorder(.init(path: "/nonexistent/trace"))
        recorder.record(record(1))
        #expect(!recorder.flush())
        recorder.record(record(2))
        #expect(!recorder.flush())
    }
}

struct MemoryPressureTests {
    @Test func `a control group's files are read`() throws {
        let directory = NSTemporaryDirectory() + "/group-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        func write(_ text: String, _ name: String) throws {
            try text.write(toFile: directory + "/" + name, atomically: false, encoding: .utf8)
        }
        try write("1073741824\n", "memory.max")
        try write("536870912\n", "memory.current")
        try write(
            "some avg10=12.50 avg60=3.00 avg300=1.00 total=77\nfull avg10=2.00 avg60=0.00 avg300=0.00 total=5\n",
            "memory.pressure")
        let reading = MemoryPressure(directory: directory).reading()
        #expect(
            reading
                == LimitGovernor.Reading(
                    maximumBytes: 1 << 30, currentBytes: 1 << 29, stalledPercent: 12.5))
        try write("max\n", "memory.max")
        #expect(MemoryPressure(directory: directory).reading().maximumBytes == nil)
        #expect(MemoryPressure(directory: nil).reading() == LimitGovernor.Reading())
    }
}

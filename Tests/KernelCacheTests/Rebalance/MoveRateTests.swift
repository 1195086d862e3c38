import EsperTypes
import Foundation
import KernelCache
import TestSupport
import Testing

struct MoveRateTests {
    private func at(_ milliseconds: UInt64) -> Instant {
        Instant(nanoseconds: 1_000_000_000 + milliseconds * 1_000_000)
    }

    @Test func `bytes come evenly at the rate that is set`() {
        var rate = MoveRate(limit: 1 << 20)
        let first = rate.take(blobs: 0, bytes: 1 << 20, at: at(0))
        let early = rate.take(blobs: 0, bytes: 1 << 19, at: at(0))
        let second = rate.take(blobs: 0, bytes: 1 << 19, at: at(1000))
        let third = rate.take(blobs: 0, bytes: 1, at: at(1200))
        let later = rate.take(blobs: 0, bytes: 1, at: at(5000))
        #expect([first, early, second, third, later] == [nil, .seconds(1), nil, .milliseconds(300), nil])
    }

    @Test func `a blob counts as more than its bytes`() {
        var rate = MoveRate(limit: 1 << 20)
        #expect(rate.take(blobs: 16, bytes: 1 << 19, at: at(0)) == nil)
        #expect(rate.take(blobs: 1, bytes: 1, at: at(0)) == .seconds(1))
    }

    @Test func `a portion takes ten milliseconds of the rate, and is bounded`() {
        var rate = MoveRate(limit: 100 << 20)
        #expect(rate.portion == 1 << 20)
        rate.judge(isStrained: true, at: at(0))
        #expect(rate.portion == 1 << 19)
        for second in 1...9 { rate.judge(isStrained: true, at: at(UInt64(second) * 1000)) }
        #expect(rate.portion == 1 << 17)
        rate.setLimit(10 << 30, at: at(0))
        #expect(rate.portion == 2 << 20)
    }

    @Test func `whoever waits gets the rate as it is by then`() {
        var rate = MoveRate(limit: 1 << 20)
        #expect(rate.take(blobs: 0, bytes: 10 << 20, at: at(0)) == nil)
        rate.judge(isStrained: true, at: at(0))
        #expect(rate.take(blobs: 0, bytes: 1, at: at(0)) == .seconds(20))
        rate.setLimit(10 << 20, at: at(10_000))
        #expect(rate.take(blobs: 0, bytes: 1, at: at(10_000)) == .milliseconds(500))
    }

    @Test func `one slow time of a few is the slowest`() {
        let times = RecentTimes()
        for milliseconds in [1, 200, 1] { times.add(.milliseconds(milliseconds)) }
        #expect(times.takeSlowest() == .milliseconds(200))
        #expect(times.takeSlowest() == nil)
        for number in 1...100 { times.add(.milliseconds(number)) }
        #expect(times.takeSlowest() == .milliseconds(99))
    }

    @Test func `the rate is halved in a strained quarter of a second and grows by a tenth in a calm second`() {
        var rate = MoveRate(limit: 4 << 20)
        rate.judge(isStrained: true, at: at(0))
        #expect(rate.current == 2 << 20)
        // Still the same quarter.
        rate.judge(isStrained: true, at: at(200))
        #expect(rate.current == 2 << 20)
        rate.judge(isStrained: true, at: at(250))
        #expect(rate.current == 1 << 20)
        // Calm, but not for a second.
        rate.judge(isStrained: false, at: at(1000))
        #expect(rate.current == 1 << 20)
        rate.judge(isStrained: false, at: at(1250))
        #expect(rate.current == (1 << 20) + (1 << 20) / 10)
        for second in 3...40 { rate.judge(isStrained: false, at: at(UInt64(second) * 1000)) }
        #expect(rate.current == 4 << 20)
        for second in 41...60 { rate.judge(isStrained: true, at: at(UInt64(second) * 1000)) }
        #expect(rate.current == MoveRate.leastStrained)
        rate.setLimit(8 << 20, at: at(61_000))
        #expect(rate.current == 8 << 20)
        var large = MoveRate(limit: 64 << 20)
        for second in 0...9 { large.judge(isStrained: true, at: at(UInt64(second) * 1000)) }
        #expect(large.current == 2 << 20)
    }

    @Test(arguments: [0, 1, 64 << 10, 1 << 40, 1 << 63, .max])
    func `any limit is bounded, strained and calm`(limit: UInt64) {
        var rate = MoveRate(limit: limit)
        for second: UInt64 in 0...9 {
            rate.judge(isStrained: second % 2 == 0, at: at(second * 1000))
            #expect(MoveRate.limits.contains(rate.current))
        }
        rate.setLimit(1 << 20, at: at(10_000))
        rate.setLimit(limit, at: at(10_000))
        #expect(rate.current == min(max(limit, MoveRate.limits.lowerBound), MoveRate.limits.upperBound))
        #expect(rate.take(blobs: 1, bytes: 1 << 20, at: at(20_000)) == nil)
    }
}

struct ProcessorWaitTests {
    private func withThreads(_ body: (String) throws -> Void) throws {
        let path = NSTemporaryDirectory() + "/esper-threads-\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    /// What the kernel would say of one thread.
    private func write(_ text: String, of thread: String, in directory: String) throws {
        try FileManager.default.createDirectory(atPath: "\(directory)/\(thread)", withIntermediateDirectories: true)
        try text.write(toFile: "\(directory)/\(thread)/schedstat", atomically: false, encoding: .utf8)
    }

    @Test func `the mean is over all threads and since the last call`() throws {
        try withThreads { directory in
            var wait = ProcessorWait(directory: directory)
            try write("9 1000 10\n", of: "1", in: directory)
            try write("9 5000 10\n", of: "2", in: directory)
            // What was before the first call does not count.
            #expect(wait.takeMean() == nil)
            #expect(wait.takeMean() == nil)
            try write("9 4000 20\n", of: "1", in: directory)
            #expect(wait.takeMean() == .nanoseconds(300))
            try write("9 5000 30\n", of: "1", in: directory)
            try write("9 8000 20\n", of: "2", in: directory)
            #expect(wait.takeMean() == .nanoseconds(200))
            // One ended, and its number was given to another.
            try write("9 100 1\n", of: "1", in: directory)
            try write("9 8600 22\n", of: "2", in: directory)
            #expect(wait.takeMean() == .nanoseconds(300))
        }
    }

    @Test(arguments: ["", "1 2\n", "1 x 3\n", "1 -2 3\n", "1 2 3 4\n", "1 99999999999999999999 3\n"])
    func `what the kernel does not say so is passed over`(text: String) throws {
        try withThreads { directory in
            var wait = ProcessorWait(directory: directory)
            try write("1 2 3\n", of: "1", in: directory)
            _ = wait.takeMean()
            try write(text, of: "1", in: directory)
            #expect(wait.takeMean() == nil)
        }
    }

    @Test func `without the kernel's word nothing is known`() {
        var wait = ProcessorWait(directory: "/nowhere")
        #expect(wait.takeMean() == nil)
        #expect(wait.takeMean() == nil)
    }
}

import EsperTypes
import NIOCore
import PeerTransport
import RaftCore
import Testing

@Suite struct OutboundQueueTests {
    private var encoder = FrameEncoder()

    @Test mutating func `frames leave in one buffer and count until the kernel has them`() throws {
        var queue = OutboundQueue(bound: 1000, reserve: 0)
        for value: UInt64 in 1...3 {
            #expect(queue.append(numbered(value), with: &encoder, frameLimit: 1000) == nil)
        }
        #expect(queue.bytes == 75)
        let taken = queue.take()
        let (buffer, frames) = try #require(taken)
        #expect(buffer.readableBytes == 75)
        #expect(frames == 3)
        #expect(queue.bytes == 75)
        #expect(queue.take() == nil)
        queue.written(75)
        #expect(queue.bytes == 0)
    }

    @Test mutating func `entries stop at the bound and small messages at the end of the reserve`() {
        let batch = append(entries(1...1, payloadBytes: 100))
        let batchBytes = encoded(batch).readableBytes
        var queue = OutboundQueue(bound: 3 * batchBytes + 1, reserve: 50)
        for _ in 1...3 { #expect(queue.append(batch, with: &encoder, frameLimit: 1000) == nil) }
        #expect(queue.append(batch, with: &encoder, frameLimit: 1000) == .queueFull)
        #expect(queue.append(numbered(1), with: &encoder, frameLimit: 1000) == nil)
        #expect(queue.append(numbered(2), with: &encoder, frameLimit: 1000) == nil)
        #expect(queue.append(numbered(3), with: &encoder, frameLimit: 1000) == .queueFull)
        #expect(queue.bytes == 3 * batchBytes + 50)
        #expect(queue.pendingFrames == 5)
    }

    @Test mutating func `what was refused leaves no bytes behind`() {
        var queue = OutboundQueue(bound: 200, reserve: 0)
        #expect(queue.append(numbered(1), with: &encoder, frameLimit: 1000) == nil)
        #expect(queue.append(append(entries(1...9)), with: &encoder, frameLimit: 1000) == .queueFull)
        #expect(queue.append(append(entries(1...1)), with: &encoder, frameLimit: 30) == .tooLarge)
        let taken = queue.take()
        #expect(taken?.buffer == encoded(numbered(1)))
    }

    @Test mutating func `bytes in flight count against the bound`() {
        var queue = OutboundQueue(bound: 60, reserve: 0)
        #expect(queue.append(numbered(1), with: &encoder, frameLimit: 1000) == nil)
        #expect(queue.append(numbered(2), with: &encoder, frameLimit: 1000) == nil)
        _ = queue.take()
        #expect(queue.append(numbered(3), with: &encoder, frameLimit: 1000) == .queueFull)
        queue.written(50)
        #expect(queue.append(numbered(3), with: &encoder, frameLimit: 1000) == nil)
    }

    @Test mutating func `a link that ends takes its queue along`() {
        var queue = OutboundQueue(bound: 1000, reserve: 0)
        _ = queue.append(numbered(1), with: &encoder, frameLimit: 1000)
        _ = queue.take()
        _ = queue.append(numbered(2), with: &encoder, frameLimit: 1000)
        #expect(queue.clear() == 1)
        #expect(queue.bytes == 0)
        #expect(queue.take() == nil)
    }

    @Test func `only snapshot chunks take the bulk link`() {
        for frame in samples {
            if case .raft(.installSnapshot) = frame {
                #expect(frame.link == .bulk)
            } else {
                #expect(frame.link == .main)
            }
        }
    }
}

@Suite struct BackoffTests {
    @Test(arguments: 0..<100 as Range<UInt64>)
    func `waits double up to the longest, between half a step and the step`(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        var backoff = Backoff(shortest: .milliseconds(10))
        var step = Duration.milliseconds(10)
        for _ in 0..<40 {
            let wait = backoff.next(longest: .milliseconds(250), using: &generator)
            #expect(wait >= step / 2 && wait <= step)
            step = min(step * 2, .milliseconds(250))
        }
        backoff.reset()
        #expect(backoff.next(longest: .seconds(5), using: &generator) <= .milliseconds(10))
    }

    @Test func `nodes with different seeds do not dial together`() {
        let waits = (0..<10 as Range<UInt64>).map { seed in
            var generator = SplitMix64(seed: seed)
            var backoff = Backoff(shortest: .seconds(1))
            return backoff.next(longest: .seconds(1), using: &generator)
        }
        #expect(Set(waits).count == waits.count)
    }
}

@Suite struct LogLimiterTests {
    @Test func `a few lines of a reason pass and the rest are counted`() {
        var limiter = LogLimiter()
        let start = NIODeadline.uptimeNanoseconds(1)
        for _ in 0..<LogLimiter.lines { #expect(limiter.admit("tls", at: start) == 0) }
        for _ in 0..<7 { #expect(limiter.admit("tls", at: start) == nil) }
        #expect(limiter.admit("expired", at: start) == 0)
        #expect(limiter.admit("tls", at: start + LogLimiter.window) == 7)
        #expect(limiter.admit("tls", at: start + LogLimiter.window) == 0)
    }
}

import PostgreSQL
import Testing

/// The queue as a value: no server, no thread, tokens that are the requests' ids.
@Suite struct RequestQueueTests {
    typealias Queue = RequestQueue<UInt64>

    func queue(connections: Int = 1, requests: Int = 10, batch: Int = 4) -> Queue {
        Queue(
            connections: connections,
            limits: .init(requests: requests, waitingBytes: 1000, batchRequests: batch, batchBytes: 250))
    }

    func request(_ id: UInt64, bytes: Int = 50, isAlone: Bool = false, deadline: UInt64 = 100) -> Queue.Request {
        .init(id: id, statements: [], byteCount: bytes, isAlone: isAlone, deadline: deadline)
    }

    func submit(_ requests: [Queue.Request], to queue: inout Queue) {
        for request in requests {
            guard case .accepted = queue.submit(request, token: request.id) else {
                Issue.record("request \(request.id) was refused")
                return
            }
        }
    }

    func taken(_ queue: inout Queue, by connection: Int = 0) -> [UInt64] {
        guard case .batch(let batch) = queue.take(for: connection) else { return [] }
        return batch.map(\.id)
    }

    @Test func `a batch ends at its count, its bytes and beside a request that stands alone`() {
        var queue = queue(connections: 4)
        submit((1...5).map { request($0) }, to: &queue)
        submit([request(6, isAlone: true), request(7), request(8, bytes: 201), request(9, bytes: 300)], to: &queue)
        #expect(taken(&queue) == [1, 2, 3, 4])
        #expect(taken(&queue, by: 1) == [5])
        #expect(taken(&queue, by: 2) == [6])
        #expect(taken(&queue, by: 3) == [7])
        for id: UInt64 in 1...7 { #expect(queue.finish(id) == id) }
        for connection in 0..<4 { queue.batchEnded(connection) }
        #expect(taken(&queue) == [8])
        // Larger than a batch may be: a batch of its own.
        #expect(taken(&queue, by: 1) == [9])
        #expect(queue.waitingBytes == 0)
    }

    @Test func `an idle connection is woken once`() {
        var queue = queue(connections: 2)
        guard case .wait = queue.take(for: 1), case .wait = queue.take(for: 1) else {
            Issue.record("there is work")
            return
        }
        guard case .accepted(wake: 1) = queue.submit(request(1), token: 1),
            case .accepted(wake: nil) = queue.submit(request(2), token: 2)
        else {
            Issue.record("the wrong connection was woken")
            return
        }
        #expect(taken(&queue, by: 1) == [1, 2])
    }

    @Test func `what expires before it is sent is not committed, afterwards nobody knows`() {
        var queue = queue()
        submit([request(1, deadline: 10), request(2, deadline: 20)], to: &queue)
        #expect(taken(&queue) == [1, 2])
        submit([request(3, deadline: 10)], to: &queue)
        #expect(queue.nextDeadline == 10)
        let (failures, cuts) = queue.expire(at: 10)
        #expect(failures.map(\.token) == [1, 3])
        #expect(failures.map(\.error.outcome) == [.unknown, .notCommitted])
        // The second request still waits for the batch.
        #expect(cuts.isEmpty && !queue.isAbandoned(0))
        #expect(queue.expire(at: 20).cuts == [0])
        #expect(queue.isAbandoned(0))
        queue.batchEnded(0)
        #expect(queue.count == 0)
    }

    @Test func `a token leaves exactly once`() {
        var queue = queue()
        submit([request(1), request(2)], to: &queue)
        #expect(taken(&queue) == [1, 2])
        #expect(queue.abandon(1, .cancelled, "gone").0?.token == 1)
        #expect(queue.abandon(1, .cancelled, "gone").0 == nil)
        #expect(queue.finish(1) == nil)
        #expect(queue.finish(2) == 2)
        #expect(queue.finish(2) == nil)
        queue.batchEnded(0)
    }

    @Test func `without a connection requests fail with the cause, with another they wait`() {
        var queue = queue(connections: 2)
        queue.connected(1)
        submit([request(1)], to: &queue)
        #expect(queue.connectFailed(0, "refused").isEmpty)
        queue.disconnected(1)
        #expect(queue.connectFailed(1, "refused too").map(\.error.message) == ["refused too"])
        guard case .refused(let error) = queue.submit(request(2), token: 2) else {
            Issue.record("accepted")
            return
        }
        #expect(error.kind == .unavailable && error.isRetryable)
        queue.connected(0)
        submit([request(3)], to: &queue)
        #expect(taken(&queue) == [3])
    }

    @Test func `closing serves what waits and aborting fails it`() {
        var queue = queue(connections: 2)
        submit([request(1), request(2, isAlone: true)], to: &queue)
        _ = queue.close()
        guard case .refused(let error) = queue.submit(request(3), token: 3) else {
            Issue.record("accepted")
            return
        }
        #expect(error.kind == .shuttingDown)
        #expect(taken(&queue) == [1])
        let (failures, cuts) = queue.abort()
        #expect(failures.map(\.token) == [1, 2])
        #expect(cuts == [0])
        queue.batchEnded(0)
        guard case .exit = queue.take(for: 0) else {
            Issue.record("something is left")
            return
        }
    }

    @Test func `ids of those that gave up are forgotten while a connection hangs`() {
        var queue = queue(requests: 3)
        submit([request(1)], to: &queue)
        #expect(taken(&queue) == [1])
        for id: UInt64 in 2..<10_000 {
            submit([request(id)], to: &queue)
            #expect(queue.abandon(id, .cancelled, "gone").0?.token == id)
        }
        #expect(queue.count == 1 && queue.waitingBytes == 0)
    }

    @Test func `waits double up to the maximum and stay in the upper half`() {
        var backoff = Backoff(minimum: .milliseconds(100), maximum: .seconds(1))
        var generator = SplitMix64(seed: 9)
        for ceiling: UInt64 in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next(using: &generator)
            #expect(wait >= ceiling * 500_000 && wait <= ceiling * 1_000_000)
        }
        for _ in 0..<100 { #expect(backoff.next(using: &generator) <= 1_000_000_000) }
        backoff.reset()
        #expect(backoff.next(using: &generator) <= 100_000_000)
    }
}

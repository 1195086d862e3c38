internal import EsperProtocol
internal import EsperTypes
internal import GRPCTransport
internal import NIOCore
internal import SwiftProtobuf

extension EsperClient {
    /// Changes of the keyspace: in order, each once, through lost connections and changes of leader.
    ///
    /// - Parameters:
    ///   - fromRevision: the first revision to report, which may lie in the past; nil: what comes from now on.
    ///   - progress: also batches without events, which say how far the watch has come.
    ///   - progressInterval: how often the node says so while nothing happens; a watch that is opened again goes on from
    ///     there, so that a long silence does not end in what was compacted meanwhile.
    public func watch(
        _ range: KeyRange, fromRevision: UInt64? = nil, progress: Bool = false,
        progressInterval: Duration = .seconds(10)
    ) -> WatchSequence {
        WatchSequence(
            client: self, range: range, fromRevision: fromRevision ?? 0, wantsProgress: progress,
            progressInterval: progressInterval)
    }

    /// The leader of an election at once, then every change; through lost connections, where a change and its reversal may
    /// go unseen.
    public func observe(_ name: String) -> ObserveSequence { ObserveSequence(client: self, name: name) }
}

/// The changes that ``EsperClient/watch(_:fromRevision:progress:progressInterval:)`` reports. Each iteration is a watch of its own.
///
/// Fails with code `closed` when the client is, with `compacted` when changes it has not seen were compacted away, and with what a node refuses for good.
public struct WatchSequence: AsyncSequence, Sendable {
    public typealias Element = WatchBatch
    public typealias Failure = any Error

    let client: EsperClient
    let range: KeyRange
    let fromRevision: UInt64
    let wantsProgress: Bool
    let progressInterval: Duration

    public func makeAsyncIterator() -> Iterator { Iterator(self) }

    public struct Iterator: AsyncIteratorProtocol {
        private let sequence: WatchSequence
        private let stream: ResumedStream
        /// The first revision that is not yet reported; 0: wherever the watch begins.
        private var next: UInt64

        init(_ sequence: WatchSequence) {
            self.sequence = sequence
            next = sequence.fromRevision
            stream = ResumedStream(sequence.client, .watch)
        }

        public mutating func next() async throws -> WatchBatch? {
            while true {
                let from = next
                let (range, interval) = (sequence.range, sequence.progressInterval)
                guard
                    let response: ProtoWatchResponse = try await stream.next({
                        let request = ProtoWatchRequest.with {
                            $0.range = range.message
                            $0.fromRevision = from
                            $0.progressIntervalMs = interval.milliseconds
                        }
                        return try request.serializedBytes()
                    })
                else { return nil }
                // What an earlier connection has brought is not reported again.
                let events = response.events.filter { $0.kv.modRevision >= next }.map(WatchEvent.init)
                let isNews = response.revision >= next
                next = Swift.max(next, response.revision + 1)
                if !events.isEmpty || sequence.wantsProgress && isNews {
                    return WatchBatch(revision: response.revision, events: events)
                }
            }
        }
    }
}

/// The leaders that ``EsperClient/observe(_:)`` reports.
public struct ObserveSequence: AsyncSequence, Sendable {
    public typealias Element = (revision: UInt64, leadership: Leadership?)
    public typealias Failure = any Error

    let client: EsperClient
    let name: String

    public func makeAsyncIterator() -> Iterator { Iterator(self) }

    public struct Iterator: AsyncIteratorProtocol {
        private let name: String
        private let stream: ResumedStream
        private var last: (revision: UInt64, leadership: Leadership?)?

        init(_ sequence: ObserveSequence) {
            name = sequence.name
            stream = ResumedStream(sequence.client, .observe)
        }

        public mutating func next() async throws -> (revision: UInt64, leadership: Leadership?)? {
            let name = name
            while true {
                guard
                    let response: ProtoObserveResponse = try await stream.next({
                        try ProtoObserveRequest.with { $0.name = name }.serializedBytes()
                    })
                else { return nil }
                let leadership = response.hasLeadership ? Leadership(response.leadership) : nil
                // After a lost connection another node begins again, and may be behind what was told already.
                if let last, response.revision < last.revision || leadership == last.leadership { continue }
                last = (response.revision, leadership)
                return (response.revision, leadership)
            }
        }
    }
}

/// A server-streaming call that is opened again when it breaks.
final class ResumedStream: Sendable {
    private let client: EsperClient
    private let method: ProtoMethod
    private let current = CurrentStream()

    init(_ client: EsperClient, _ method: ProtoMethod) {
        self.client = client
        self.method = method
    }

    /// The iteration has ended, so the call has no reader any more.
    deinit { current.stream?.cancel() }

    /// - Parameter request: made anew for each opening, so that it asks for what is still missing.
    /// - Returns: nil when the task was cancelled.
    func next<Response: Message>(_ request: () throws -> [UInt8]) async throws -> Response? {
        while !Task.isCancelled {
            let stream: MessageStream
            if let open = current.stream {
                stream = open
            } else {
                guard !client.engine.isClosed else { throw CallEngine.closed(.notCommitted) }
                stream = MessageStream(client.engine, method, try request())
                current.stream = stream
            }
            switch await stream.next() {
            case .message(let bytes):
                current.failures = 0
                return try Response(serializedBytes: bytes)
            case .ended(let failure):
                current.stream = nil
                if Task.isCancelled { return nil }
                guard !client.engine.isClosed else { throw CallEngine.closed(.notCommitted) }
                if let failure { try judge(failure) }
                current.failures += 1
                await pause(attempt: current.failures)
            }
        }
        return nil
    }

    /// Throws what asking again would not change.
    private func judge(_ failure: CallFailure) throws {
        let reading = FailureReading(failure, isMutating: false)
        guard reading.isJudged, !reading.error.isRetryable else { return }
        throw reading.error
    }

    private func pause(attempt: Int) async {
        await withCheckedContinuation { continuation in
            client.engine.afterPause(attempt: attempt) { continuation.resume() }
        }
    }
}

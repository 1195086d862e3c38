internal import Glibc

/// Reads segments in order; the next ones beforehand on threads of its own, when there is so much that it pays.
///
/// Checksums and the copy of every entry take most of the time, and no segment needs another for them.
final class SegmentReader {
    private struct Ahead {
        /// What has been read and not been taken; a thread takes the lowest number nobody has begun.
        var contents: [Int: Result<SegmentContent, StorageError>] = [:]
        var begun = 0
        var taken = 0
        var isStopped = false
    }

    private static let threads = 3
    /// Segments that are read before they are needed; each is in memory twice for a moment.
    private static let lead = 4

    private let segments: [LogRecovery.Segment]
    private let ahead = Monitor(Ahead())
    private var workers: [DedicatedThread] = []
    private var position = 0
    /// For reading on the caller's thread.
    private var memory: UnsafeMutableRawBufferPointer?

    /// - Parameter parallelBytes: so much log makes the threads worth their cost.
    init(_ segments: [LogRecovery.Segment], parallelBytes: Int) {
        self.segments = segments
        let total = segments.reduce(0) { $0 + $1.header.segmentBytes }
        guard total >= parallelBytes, segments.count > 1 else { return }
        let ahead = ahead
        workers = (0..<min(Self.threads, segments.count)).map { number in
            DedicatedThread(name: "esper-read-\(number)") { Self.work(segments, ahead) }
        }
    }

    deinit {
        ahead.withLock { $0.isStopped = true }
        ahead.notify()
        for worker in workers { worker.join() }
        memory?.deallocate()
    }

    /// The content of the next segment.
    ///
    /// - Precondition: there is one.
    func next() throws(StorageError) -> SegmentContent {
        precondition(position < segments.count, "all \(segments.count) segments have been read")
        let number = position
        position += 1
        guard !workers.isEmpty else {
            return try SegmentContent(segments[number], into: &memory)
        }
        let content = ahead.wait { ahead -> Result<SegmentContent, StorageError>? in
            guard let content = ahead.contents.removeValue(forKey: number) else { return nil }
            ahead.taken = number + 1
            return content
        }
        ahead.notify()
        // Without a limit it waits for as long as it takes.
        return try content!.get()
    }

    private static func work(_ segments: [LogRecovery.Segment], _ ahead: Monitor<Ahead>) {
        var memory: UnsafeMutableRawBufferPointer?
        defer { memory?.deallocate() }
        while true {
            let next = ahead.wait { ahead -> Int? in
                guard !ahead.isStopped, ahead.begun < segments.count else { return segments.count }
                guard ahead.begun < ahead.taken + lead else { return nil }
                defer { ahead.begun += 1 }
                return ahead.begun
            }
            guard let next, next < segments.count else { return }
            let content = Result { () throws(StorageError) in try SegmentContent(segments[next], into: &memory) }
            ahead.withLock { $0.contents[next] = content }
            ahead.notify()
        }
    }
}

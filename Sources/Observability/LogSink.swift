internal import Glibc
internal import Synchronization

/// Takes finished lines and writes them to a descriptor from a thread of its own.
///
/// A reader that does not read (a stuck terminal or pipe) must not stop an event loop, so a line only joins a buffer.
/// The buffer is bounded: lines that do not fit are dropped and counted, and the count is written as soon as there
/// is room. Lines of one caller stay in order.
public final class LogSink: Sendable {
    private struct State {
        var buffer: [UInt8] = []
        var dropped = 0
        /// Of those, how many a written line tells of.
        var announced = 0
        var isWriting = false
        var isStarted = false
    }

    private let state = Mutex(State())
    /// A pipe of which a byte wakes the thread; the writing end never blocks, for a full pipe wakes it just as well.
    private let wakeUp: (reading: Int32, writing: Int32)
    private let descriptor: Int32
    private let maximumBufferedBytes: Int

    /// - Parameters:
    ///   - descriptor: stays open and with its owner; standard error for programs.
    ///   - maximumBufferedBytes: how much a stuck reader may hold back before lines are dropped.
    public init(descriptor: Int32 = 2, maximumBufferedBytes: Int = 1 << 20) {
        self.descriptor = descriptor
        self.maximumBufferedBytes = maximumBufferedBytes
        var ends: [Int32] = [-1, -1]
        let failure = pipe(&ends)
        precondition(failure == 0, "no pipe for the log: error \(errno)")
        wakeUp = (ends[0], ends[1])
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
    }

    /// Standard error, shared by every logger of the process and never destroyed.
    public static let standardError = LogSink()

    /// Queues one line, which ends in a line feed.
    public func write(_ line: String) {
        let needsWakeUp = state.withLock { state in
            guard state.buffer.count + line.utf8.count <= maximumBufferedBytes else {
                state.dropped += 1
                return false
            }
            state.buffer.append(contentsOf: line.utf8)
            if !state.isStarted {
                state.isStarted = true
                startThread()
            }
            return !state.isWriting
        }
        if needsWakeUp {
            var byte: UInt8 = 1
            _ = Glibc.write(wakeUp.writing, &byte, 1)
        }
    }

    /// Writes what is buffered from the calling thread, before the process ends; blocks on a stuck reader.
    public func flush() {
        while drainOnce() {}
    }

    /// Lines dropped since the start.
    package var droppedLines: Int { state.withLock { $0.dropped } }

    /// Writes one buffer full.
    ///
    /// - Returns: whether the calling thread wrote anything; false too while another thread writes.
    private func drainOnce() -> Bool {
        let chunk: [UInt8]? = state.withLock { state in
            guard !state.isWriting, !state.buffer.isEmpty || state.dropped > state.announced else { return nil }
            state.isWriting = true
            var chunk: [UInt8] = []
            swap(&chunk, &state.buffer)
            if state.dropped > state.announced {
                let count = state.dropped - state.announced
                chunk.append(contentsOf: "log lines dropped because nobody read them: \(count)\n".utf8)
                state.announced = state.dropped
            }
            return chunk
        }
        guard let chunk else { return false }
        writeAll(chunk)
        state.withLock { $0.isWriting = false }
        return true
    }

    /// A descriptor that is closed or broken takes nothing: the lines are lost, there is nowhere left to say so.
    private func writeAll(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { raw in
            var rest = raw[...]
            while !rest.isEmpty {
                let count = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
                if count > 0 {
                    rest = rest.dropFirst(count)
                } else if errno == EAGAIN {
                    var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    poll(&waiting, 1, 1000)
                } else if errno != EINTR {
                    return
                }
            }
        }
    }

    /// The thread lives as long as the process, like standard error itself; it holds the sink.
    private func startThread() {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self)
        let failure = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                Unmanaged<LogSink>.fromOpaque(context).takeRetainedValue().serve()
                return nil
            }, context.toOpaque())
        precondition(failure == 0, "no thread for the log: error \(failure)")
        pthread_detach(thread)
    }

    private func serve() {
        // A reader that went away is an error of the write, not the end of the process.
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
            _ = read(wakeUp.reading, &bytes, bytes.count)
            while drainOnce() {}
        }
    }
}

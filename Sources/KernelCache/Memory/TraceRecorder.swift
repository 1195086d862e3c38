public import CacheCore
internal import Foundation
internal import Synchronization

/// Writes what is asked of the cache into a file, for `esper bench cache --trace`.
///
/// Bounded twice: what cannot be written soon enough is dropped and counted, and files are rotated, so that at most two of
/// `maximumFileBytes` exist (`PATH` and `PATH.1`). Recording takes a short lock and never waits for the disk; whoever calls
/// ``flush()`` does. A trace that fails never disturbs the cache.
public final class TraceRecorder: Sendable {
    public struct Options: Sendable {
        public var path: String
        public var maximumFileBytes: Int
        public var maximumBufferBytes: Int
        /// Every key of which one in so many is kept, chosen by its hash: what is left is a smaller trace of the same shape.
        public var samplingRatio: UInt32

        public init(
            path: String, maximumFileBytes: Int = 256 << 20, maximumBufferBytes: Int = 4 << 20,
            samplingRatio: UInt32 = 1
        ) {
            self.path = path
            self.maximumFileBytes = maximumFileBytes
            self.maximumBufferBytes = maximumBufferBytes
            self.samplingRatio = max(1, samplingRatio)
        }
    }

    private struct State {
        var encoder: TraceEncoder?
        var dropped: UInt64 = 0
        var recorded: UInt64 = 0
    }

    private struct File {
        var handle: FileHandle?
        var bytes = 0
        var hasFailed = false
    }

    public let options: Options
    private let state = Mutex(State())
    private let file = Mutex(File())

    public init(_ options: Options) { self.options = options }

    /// Records that found no room in the buffer.
    public var dropped: UInt64 { state.withLock { $0.dropped } }
    public var recorded: UInt64 { state.withLock { $0.recorded } }

    /// False once the file could not be written.
    public var isWorking: Bool { file.withLock { !$0.hasFailed } }

    public func record(_ record: TraceRecord) {
        guard record.key % UInt64(options.samplingRatio) == 0 else { return }
        state.withLock { state in
            var encoder =
                state.encoder ?? TraceEncoder(start: record.microseconds, samplingRatio: options.samplingRatio)
            state.encoder = nil
            if encoder.bytes.count + TraceEncoder.maximumRecordBytes <= options.maximumBufferBytes {
                encoder.append(record)
                state.recorded += 1
            } else {
                state.dropped += 1
            }
            state.encoder = encoder
        }
    }

    /// Writes what was recorded since the last time; to be called once a second, from a thread that may wait for the disk.
    ///
    /// - Returns: False when the file could not be written; it is not tried again.
    @discardableResult
    public func flush() -> Bool {
        file.withLock { file in
            guard !file.hasFailed else { return false }
            // A file that is full ends here; the next one begins with a header of its own.
            let isFull = file.bytes >= options.maximumFileBytes
            let bytes = state.withLock { state in
                let bytes = state.encoder?.take() ?? []
                if isFull || bytes.count + file.bytes >= options.maximumFileBytes { state.encoder = nil }
                return bytes
            }
            guard !bytes.isEmpty else { return true }
            do {
                let handle = try file.handle ?? open()
                file.handle = handle
                try handle.write(contentsOf: bytes)
                file.bytes += bytes.count
                if file.bytes >= options.maximumFileBytes {
                    try handle.close()
                    file.handle = nil
                    file.bytes = 0
                }
                return true
            } catch {
                // The trace is a measurement: without it the cache goes on, and the caller says so once.
                file.hasFailed = true
                return false
            }
        }
    }

    private func open() throws -> FileHandle {
        let manager = FileManager.default
        if manager.fileExists(atPath: options.path) {
            let previous = options.path + ".1"
            if manager.fileExists(atPath: previous) { try manager.removeItem(atPath: previous) }
            try manager.moveItem(atPath: options.path, toPath: previous)
        }
        guard manager.createFile(atPath: options.path, contents: nil, attributes: [.posixPermissions: 0o600]),
            let handle = FileHandle(forWritingAtPath: options.path)
        else { throw CocoaError(.fileWriteUnknown) }
        return handle
    }
}

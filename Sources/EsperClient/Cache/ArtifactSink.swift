internal import CacheCore
internal import EsperTypes
internal import NIOPosix
internal import Synchronization

/// Takes the files of one artifact as they come: whole blobs, checked, in order.
public protocol ArtifactSink: AnyObject, Sendable {
    /// The artifact that comes. Called again when the name came to stand for another one midway: what was written before is void.
    func begin(_ header: ArtifactHeader) async throws

    /// - Parameter file: position in the header's manifest. Files come in order; one that is empty, or was not asked for, does not
    ///   come.
    func write(_ bytes: [UInt8], file: Int) async throws
}

/// Keeps an artifact in memory, up to a bound.
final class MemorySink: ArtifactSink {
    private let maximumBytes: UInt64
    private let wanted: Set<String>
    private let state = Mutex<(header: ArtifactHeader?, contents: [[UInt8]?])>((nil, []))

    init(maximumBytes: UInt64, wanted: [String]) {
        self.maximumBytes = maximumBytes
        self.wanted = Set(wanted)
    }

    func begin(_ header: ArtifactHeader) async throws {
        let files = header.manifest.files
        let isWanted = files.map { wanted.isEmpty || wanted.contains($0.name) }
        let size = zip(files, isWanted).reduce(UInt64(0)) { $1.1 ? $0 + $1.0.size : $0 }
        guard size <= maximumBytes else {
            throw EsperError(
                code: "oversized",
                message: "the artifact has \(size) bytes, more than the \(maximumBytes) allowed here",
                outcome: .notCommitted)
        }
        state.withLock { $0 = (header, isWanted.map { $0 ? [] : nil }) }
    }

    func write(_ bytes: [UInt8], file: Int) async throws {
        state.withLock { $0.contents[file]?.append(contentsOf: bytes) }
    }

    var artifact: Artifact? {
        state.withLock { state in state.header.map { Artifact(header: $0, contents: state.contents) } }
    }
}

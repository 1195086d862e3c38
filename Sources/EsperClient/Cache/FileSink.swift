internal import CacheCore
internal import EsperTypes
internal import Glibc
internal import NIOPosix
internal import Synchronization

/// Writes an artifact to disk: each file beside its place first, and moved there by ``finish()`` when everything has come.
///
/// What stood there before stays until then, and nothing half written is left behind. Call ``finish()`` or ``discard()``, once.
public final class FileSink: ArtifactSink {
    public enum Place: Sendable {
        /// An artifact of one file, under this path.
        case file(String)
        /// Every file under its own name in this directory, which is made when it is missing.
        case directory(String)
    }

    private struct Target {
        var path: String
        var temporary: String
        var descriptor: CInt
    }

    private let place: Place
    private let wanted: Set<String>
    private let targets = Mutex<[Int: Target]>([:])

    /// - Parameter files: names of those that are asked for; empty: all.
    public init(_ place: Place, files: [String] = []) {
        self.place = place
        wanted = Set(files)
    }

    /// Where files will stand or stand, by position in the manifest.
    public var paths: [Int: String] { targets.withLock { $0.mapValues(\.path) } }

    public func begin(_ header: ArtifactHeader) async throws {
        try await onThread {
            self.removeTemporaries()
            let files = header.manifest.files.enumerated().filter { _, file in
                self.wanted.isEmpty || self.wanted.contains(file.name)
            }
            if case .file(let path) = self.place, files.count != 1 {
                throw Self.error("the artifact has \(files.count) files: \(path) must be a directory")
            }
            for (number, file) in files { try self.open(number, file.name) }
        }
    }

    public func write(_ bytes: [UInt8], file: Int) async throws {
        guard let target = targets.withLock({ $0[file] }) else { return }
        try await onThread { try Self.write(bytes, to: target) }
    }

    /// Moves all files to their places, on the disk for good.
    public func finish() async throws {
        try await onThread {
            let targets = self.targets.withLock { $0.sorted { $0.key < $1.key }.map(\.value) }
            for target in targets where fsync(target.descriptor) != 0 {
                let failure = Self.failure("write", target.temporary)
                self.removeTemporaries()
                throw failure
            }
            for target in targets {
                guard rename(target.temporary, target.path) == 0 else {
                    let failure = Self.failure("write", target.path)
                    self.removeTemporaries()
                    throw failure
                }
            }
            for target in targets { close(target.descriptor) }
        }
    }

    /// Removes what was written.
    public func discard() async {
        // Nobody reads what is left when even that fails.
        try? await onThread { self.removeTemporaries() }
    }

    // MARK: On a thread that may wait for the disk

    private func open(_ number: Int, _ name: String) throws {
        let path: String
        switch place {
        case .file(let file): path = file
        case .directory(let directory):
            // The manifest was checked: no name leads out of the directory.
            path = directory + "/" + (name.isEmpty ? "value" : name)
            try Self.makeDirectories(of: path)
        }
        let temporary = "\(path).\(getpid()).\(number).tmp"
        unlink(temporary)
        let descriptor = Glibc.open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Self.failure("create", temporary) }
        targets.withLock { $0[number] = Target(path: path, temporary: temporary, descriptor: descriptor) }
    }

    private static func write(_ bytes: [UInt8], to target: Target) throws {
        var offset = 0
        while offset < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.write(target.descriptor, $0.baseAddress! + offset, bytes.count - offset)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure("write", target.temporary) }
            offset += count
        }
    }

    private func removeTemporaries() {
        let targets = targets.withLock { targets in
            defer { targets = [:] }
            return targets.values.map { $0 }
        }
        for target in targets {
            close(target.descriptor)
            unlink(target.temporary)
        }
    }

    private static func makeDirectories(of path: String) throws {
        var position = path.startIndex
        while let slash = path[position...].dropFirst().firstIndex(of: "/") {
            let directory = String(path[..<slash])
            if mkdir(directory, 0o755) != 0, errno != EEXIST { throw failure("create", directory) }
            position = slash
        }
    }

    private func onThread(_ body: @escaping @Sendable () throws -> Void) async throws {
        try await NIOThreadPool.singleton.runIfActive(body)
    }

    private static func failure(_ verb: String, _ path: String) -> EsperError {
        error("cannot \(verb) \(path): \(String(cString: strerror(errno)))")
    }

    private static func error(_ message: String) -> EsperError {
        EsperError(code: EsperError.Code.file, message: message, outcome: .notCommitted)
    }
}

internal import EsperTypes
internal import Glibc
internal import NIOPosix

/// Reads an artifact's file piece by piece, on the threads that may wait for a disk.
final class PieceReader: Sendable {
    enum Source: Sendable, CustomStringConvertible {
        case bytes([UInt8])
        case file(String)

        init(_ content: ArtifactFile.Content) {
            switch content {
            case .bytes(let bytes): self = .bytes(bytes)
            case .file(let path): self = .file(path)
            }
        }

        var description: String {
            switch self {
            case .bytes(let bytes): "\(bytes.count) bytes"
            case .file(let path): path
            }
        }
    }

    struct Failure: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    private let source: Source
    private let file: CInt

    init(_ source: Source) async throws {
        self.source = source
        switch source {
        case .bytes: file = -1
        case .file(let path): file = try await Self.onThread { try Self.open(path) }
        }
    }

    /// Call once, when everything is read.
    func close() { if file >= 0 { _ = Glibc.close(file) } }

    static func size(of source: Source) async throws(EsperError) -> UInt64 {
        switch source {
        case .bytes(let bytes): return UInt64(bytes.count)
        case .file(let path):
            do {
                return try await onThread {
                    let file = try open(path)
                    defer { _ = Glibc.close(file) }
                    var status = stat()
                    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
                        throw Failure("\(path) is no regular file")
                    }
                    return UInt64(status.st_size)
                }
            } catch {
                throw EsperError(code: EsperError.Code.file, message: "\(error)", outcome: .notCommitted)
            }
        }
    }

    /// - Returns: fewer bytes only at the end.
    func read(at offset: UInt64, atMost limit: Int) async throws -> [UInt8] {
        switch source {
        case .bytes(let bytes): return Array(bytes[min(Int(offset), bytes.count)...].prefix(limit))
        case .file(let path):
            let file = file
            return try await Self.onThread {
                try [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
                    count = 0
                    while count < limit {
                        let read = pread(
                            file, buffer.baseAddress! + count, limit - count, off_t(offset) + off_t(count))
                        if read < 0, errno == EINTR { continue }
                        guard read >= 0 else { throw Failure("cannot read \(path): \(Self.reason)") }
                        guard read > 0 else { break }
                        count += read
                    }
                }
            }
        }
    }

    private static var reason: String { String(cString: strerror(errno)) }

    private static func open(_ path: String) throws -> CInt {
        let file = Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw Failure("cannot read \(path): \(reason)") }
        return file
    }

    private static func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value
    {
        try await NIOThreadPool.singleton.runIfActive(body)
    }
}

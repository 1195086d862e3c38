public import EsperTypes

/// A blob's name and size.
public struct BlobReference: Hashable, Sendable {
    public var digest: Digest
    /// 1 ... ``CacheLimits/blobBytes``.
    public var size: UInt32

    public init(digest: Digest, size: UInt32) {
        self.digest = digest
        self.size = size
    }
}

/// Everything that one writer made for one name: published as a whole by one binding, so that no reader ever sees the files of
/// two writers together.
public struct Manifest: Hashable, Sendable {
    public struct File: Hashable, Sendable {
        /// Relative, of printable components; unique within the manifest. Empty for the one file of a plain value.
        public var name: String
        public var content: Content

        public init(name: String, content: Content) {
            self.name = name
            self.content = content
        }

        public var size: UInt64 {
            switch content {
            case .inline(let bytes): UInt64(bytes.count)
            case .blobs(let blobs): blobs.reduce(0) { $0 + UInt64($1.size) }
            }
        }
    }

    public enum Content: Hashable, Sendable {
        /// At most ``CacheLimits/inlineBytes``.
        case inline([UInt8])
        /// In order; all but the last are full.
        case blobs([BlobReference])
    }

    /// Who made it, as proved by the certificate or the Redis user, for example `client/alice`.
    public var writer: String
    public var files: [File]

    public init(writer: String, files: [File]) {
        self.writer = writer
        self.files = files
    }

    /// Of all files.
    public var size: UInt64 { files.reduce(0) { $0 + $1.size } }

    /// Of all files, in order; one that occurs twice is named twice.
    public var blobs: [BlobReference] {
        files.flatMap { file -> [BlobReference] in
            switch file.content {
            case .inline: []
            case .blobs(let blobs): blobs
            }
        }
    }
}

/// Why a manifest is refused.
public enum ManifestError: Error, Hashable, Sendable, CustomStringConvertible {
    case noFiles
    case tooManyFiles(Int)
    case fileName(String)
    case duplicateFile(String)
    case writer
    case inlineSize(String, Int)
    case blobSize(String, UInt32)
    case tooLarge(UInt64)
    case manifestTooLarge(Int)

    public var description: String {
        switch self {
        case .noFiles: "an artifact has at least one file"
        case .tooManyFiles(let count): "an artifact has at most \(CacheLimits.files) files, not \(count)"
        case .fileName(let name):
            "the file name '\(name)' is not a relative path of at most \(CacheLimits.fileNameBytes) bytes without '.' and '..'"
        case .duplicateFile(let name): "the file '\(name)' occurs twice"
        case .writer: "a writer's name has at most \(CacheLimits.writerBytes) bytes"
        case .inlineSize(let name, let size):
            "the file '\(name)' has \(size) bytes in the manifest; more than \(CacheLimits.inlineBytes) go into blobs"
        case .blobSize(let name, let size):
            "a blob of the file '\(name)' has \(size) bytes; all but the last have \(CacheLimits.blobBytes)"
        case .tooLarge(let size): "an artifact has at most \(CacheLimits.artifactBytes) bytes, not \(size)"
        case .manifestTooLarge(let size):
            "the list of files takes \(size) bytes; at most \(CacheLimits.manifestBytes) are allowed"
        }
    }
}

extension Manifest {
    /// Checked by whoever stores one, before anything is written.
    public func validate() throws(ManifestError) {
        guard !files.isEmpty else { throw .noFiles }
        guard files.count <= CacheLimits.files else { throw .tooManyFiles(files.count) }
        guard writer.utf8.count <= CacheLimits.writerBytes else { throw .writer }
        var names: Set<String> = []
        var total: UInt64 = 0
        for file in files {
            guard Self.isFileName(file.name, isOnly: files.count == 1) else { throw .fileName(file.name) }
            guard names.insert(file.name).inserted else { throw .duplicateFile(file.name) }
            switch file.content {
            case .inline(let bytes):
                guard bytes.count <= CacheLimits.inlineBytes else { throw .inlineSize(file.name, bytes.count) }
            case .blobs(let blobs):
                for (position, blob) in blobs.enumerated() {
                    let isLast = position == blobs.count - 1
                    guard
                        isLast
                            ? blob.size > 0 && blob.size <= UInt32(CacheLimits.blobBytes)
                            : blob.size == UInt32(CacheLimits.blobBytes)
                    else { throw .blobSize(file.name, blob.size) }
                }
            }
            total += file.size
        }
        guard total <= CacheLimits.artifactBytes else { throw .tooLarge(total) }
    }

    private static func isFileName(_ name: String, isOnly: Bool) -> Bool {
        if name.isEmpty { return isOnly }
        guard name.utf8.count <= CacheLimits.fileNameBytes else { return false }
        return name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy { part in
            !part.isEmpty && !part.elementsEqual(".".utf8) && !part.elementsEqual("..".utf8)
                && part.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
        }
    }
}

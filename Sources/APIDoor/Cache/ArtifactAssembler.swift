internal import CacheCore
private import struct Crypto.SHA256
internal import EsperTypes
internal import KernelCache

/// Makes an artifact of the files that a client sends piece by piece: cuts them into blobs, which the cache takes as they become
/// whole, and lists them.
///
/// Holds less than a blob and a piece of bytes, and the small files that stand in the manifest.
struct ArtifactAssembler {
    private struct Open {
        var name: String
        var expected: Digest?
        var hash = SHA256()
        var blobs: [BlobReference] = []
        var buffer: [UInt8] = []
        var hasReferences = false
    }

    private let cache: any ArtifactCache
    private let mode: StoreMode
    private let deadline: @Sendable () -> Instant
    private var files: [Manifest.File] = []
    private var inlineBytes = 0
    private var totalBytes: UInt64 = 0
    private var open: Open?

    /// - Parameter deadline: by when a blob that is given to the cache now must be taken.
    init(_ cache: any ArtifactCache, _ mode: StoreMode, deadline: @escaping @Sendable () -> Instant) {
        self.cache = cache
        self.mode = mode
        self.deadline = deadline
    }

    /// Begins a file, and ends the one before.
    ///
    /// - Parameter expected: the SHA-256 that the whole file must have.
    mutating func begin(_ name: String, expected: Digest? = nil) async throws(CacheFailure) {
        try await end()
        guard files.count < CacheLimits.files else {
            throw CacheFailure(.invalid, "\(ManifestError.tooManyFiles(files.count + 1))")
        }
        if files.contains(where: { $0.name == name }) {
            throw CacheFailure(.invalid, "\(ManifestError.duplicateFile(name))")
        }
        let isAlone = files.isEmpty
        do throws(ManifestError) {
            // Told before its bytes are sent around. A plain value's empty name is judged at the end.
            if !(name.isEmpty && isAlone) {
                try Manifest(writer: "", files: [.init(name: name.isEmpty ? "." : name, content: .inline([]))])
                    .validate()
            }
        } catch {
            throw CacheFailure(.invalid, "\(error)")
        }
        open = Open(name: name, expected: expected)
    }

    /// The next bytes of the file.
    mutating func append(_ bytes: some Collection<UInt8>) async throws(CacheFailure) {
        guard open != nil else { throw CacheFailure(.invalid, "bytes before the first file") }
        try count(UInt64(bytes.count))
        if open?.expected != nil { open?.hash.update(data: Array(bytes)) }
        var rest = bytes[...]
        while !rest.isEmpty {
            let room = CacheLimits.blobBytes - (open?.buffer.count ?? 0)
            open?.buffer.append(contentsOf: rest.prefix(room))
            rest = rest.dropFirst(room)
            if open?.buffer.count == CacheLimits.blobBytes { try await cut() }
        }
    }

    /// A blob of the file that the cache has.
    mutating func append(_ blob: BlobReference) throws(CacheFailure) {
        guard let file = open else { throw CacheFailure(.invalid, "a blob before the first file") }
        guard file.expected == nil else {
            throw CacheFailure(.invalid, "a file with a digest of its own is sent as a whole")
        }
        guard file.buffer.isEmpty, file.blobs.allSatisfy({ $0.size == UInt32(CacheLimits.blobBytes) }) else {
            throw CacheFailure(.invalid, "a blob stands where the bytes before it end with a whole one")
        }
        guard (1...UInt32(CacheLimits.blobBytes)).contains(blob.size) else {
            throw CacheFailure(.invalid, "\(ManifestError.blobSize(file.name, blob.size))")
        }
        try count(UInt64(blob.size))
        open?.hasReferences = true
        open?.blobs.append(blob)
    }

    /// Ends the last file.
    ///
    /// - Parameter writer: who made it.
    mutating func finish(writer: String) async throws(CacheFailure) -> Manifest {
        try await end()
        let manifest = Manifest(writer: writer, files: files)
        do {
            try manifest.validate()
        } catch {
            throw CacheFailure(.invalid, "\(error)")
        }
        return manifest
    }

    // MARK: Helpers

    private mutating func count(_ bytes: UInt64) throws(CacheFailure) {
        totalBytes += bytes
        guard totalBytes <= CacheLimits.artifactBytes else {
            throw CacheFailure(.oversized, "\(ManifestError.tooLarge(totalBytes))")
        }
    }

    private mutating func cut() async throws(CacheFailure) {
        guard let bytes = open?.buffer, !bytes.isEmpty else { return }
        if open?.blobs.contains(where: { $0.size < UInt32(CacheLimits.blobBytes) }) == true {
            throw CacheFailure(.invalid, "bytes behind a blob that is not whole")
        }
        open?.buffer = []
        open?.buffer.reserveCapacity(CacheLimits.blobBytes)
        let reference = try await cache.add(bytes, mode: mode, deadline: deadline())
        open?.blobs.append(reference)
    }

    private mutating func end() async throws(CacheFailure) {
        guard let file = open else { return }
        if let expected = file.expected {
            guard Digest(bytes: Array(file.hash.finalize())) == expected else {
                throw CacheFailure(.invalid, "the bytes of '\(file.name)' do not have the SHA-256 that was given")
            }
        }
        if file.blobs.isEmpty, file.buffer.count <= CacheLimits.inlineBytes {
            inlineBytes += file.buffer.count
            guard inlineBytes <= CacheLimits.manifestBytes else {
                throw CacheFailure(.invalid, "\(ManifestError.manifestTooLarge(inlineBytes))")
            }
            files.append(Manifest.File(name: file.name, content: .inline(file.buffer)))
        } else {
            try await cut()
            files.append(Manifest.File(name: file.name, content: .blobs(open?.blobs ?? [])))
        }
        open = nil
    }
}

public import EsperTypes
internal import Glibc
internal import NIOPosix
internal import Synchronization

/// Objects as files below a directory, which several processes may share.
///
///     ROOT/objects/KEY        complete objects
///     ROOT/partial/WRITER/N   what WRITER is writing; WRITER is locked while its process lives
///
/// - An object appears by a link to a file that is complete and synced; the directories that lead to it are synced before the
///   put returns, also by the one who only finds it there. A crash at any line leaves an object or none.
/// - Links never replace: of several writers the first creates. Files go while their directory is locked.
/// - What a crashed process left behind is removed when the next store is opened.
/// - No component of a path is followed when it is a symbolic link: nothing leads out of the root.
///
/// File calls run on threads of their own. A call whose deadline passed before its turn fails; one that the disk keeps
/// waiting cannot be stopped.
public final class DirectoryStore: ObjectStore {
    private let root: String
    private let threads: NIOThreadPool
    private let partial: PartialFiles
    private let objects: Descriptor
    private let now: @Sendable () -> Instant
    /// Directories below `objects` that are known to be on disk.
    private let synced = Mutex<Set<String>>([])

    /// Opens the store, making its directories when they are missing; blocks for a few file calls.
    ///
    /// - Parameters:
    ///   - threads: file calls at once.
    ///   - now: the clock of deadlines.
    public init(
        at root: String, threads: Int = 4, now: @escaping @Sendable () -> Instant
    ) throws(ObjectStoreError) {
        self.root = root
        self.now = now
        try Files.makeRoot(root)
        let top = try Files.openDirectory(root)
        try Files.makeDirectory("objects", in: top)
        try Files.makeDirectory("partial", in: top)
        try Files.sync(top, root)
        objects = try Files.openDirectory("objects", in: top)
        partial = try PartialFiles(in: try Files.openDirectory("partial", in: top))
        self.threads = NIOThreadPool(numberOfThreads: threads)
        self.threads.start()
    }

    /// Waits for calls under way; later ones fail.
    public func shutdown() async {
        // It fails only when it was shut down before.
        try? await threads.shutdownGracefully()
        partial.close()
    }

    // MARK: Calls

    public func put(_ key: ObjectKey, _ bytes: [UInt8], deadline: Instant) async throws(ObjectStoreError) -> Creation {
        try await onThread(deadline) { [self] () throws(ObjectStoreError) in
            let file = try partial.create()
            defer { partial.remove(file) }
            try Files.write(bytes, to: file.descriptor, key.description)
            return try publish(file, as: key)
        }
    }

    public func putLarge(
        _ key: ObjectKey, deadline: Instant, pieces next: @Sendable () async throws(ObjectStoreError) -> [UInt8]?
    ) async throws(ObjectStoreError) -> Creation {
        let file = try await onThread(deadline) { [self] () throws(ObjectStoreError) in try partial.create() }
        do throws(ObjectStoreError) {
            while let piece = try await next() {
                try await onThread(deadline) { () throws(ObjectStoreError) in
                    try Files.write(piece, to: file.descriptor, key.description)
                }
            }
            let creation = try await onThread(deadline) { [self] () throws(ObjectStoreError) in
                try publish(file, as: key)
            }
            partial.remove(file)
            return creation
        } catch {
            partial.remove(file)
            throw error
        }
    }

    public func get(
        _ key: ObjectKey, range: Range<UInt64>?, deadline: Instant
    ) async throws(ObjectStoreError) -> [UInt8]? {
        try await onThread(deadline) { [self] () throws(ObjectStoreError) in
            guard let file = try open(key) else { return nil }
            return try Files.read(file, range: range, key.description)
        }
    }

    public func head(_ key: ObjectKey, deadline: Instant) async throws(ObjectStoreError) -> ObjectFacts? {
        try await onThread(deadline) { [self] () throws(ObjectStoreError) in
            guard let file = try open(key) else { return nil }
            return ObjectFacts(size: try Files.size(file, key.description))
        }
    }

    public func delete(_ key: ObjectKey, deadline: Instant) async throws(ObjectStoreError) {
        try await onThread(deadline) { [self] () throws(ObjectStoreError) in
            let (folders, name) = Self.split(key)
            guard let folder = try descend(folders) else { return }
            try Files.locked(folder, key.description) { () throws(ObjectStoreError) in
                try remove(name, from: folder, key)
            }
        }
    }

    public func delete(
        _ key: ObjectKey, if isSuch: @escaping @Sendable ([UInt8]) -> Bool, deadline: Instant
    ) async throws(ObjectStoreError) {
        try await onThread(deadline) { [self] () throws(ObjectStoreError) in
            let (folders, name) = Self.split(key)
            guard let folder = try descend(folders) else { return }
            // Nobody else takes it away meanwhile, so nobody puts another one in its place.
            try Files.locked(folder, key.description) { () throws(ObjectStoreError) in
                guard let file = try Files.openFile(name, in: folder),
                    isSuch(try Files.read(file, range: nil, key.description))
                else { return }
                try remove(name, from: folder, key)
            }
        }
    }

    public func list(
        prefix: String, after: ObjectKey?, limit: Int, deadline: Instant
    ) async throws(ObjectStoreError) -> [ListedObject] {
        try await onThread(deadline) { [self] () throws(ObjectStoreError) in
            var listing = Listing(prefix: prefix, after: after?.description, limit: limit)
            try listing.walk(objects, path: "")
            return listing.found
        }
    }

    public func probe(deadline: Instant) async throws(ObjectStoreError) {
        try await onThread(deadline) { [self] () throws(ObjectStoreError) in
            // The directory is asked for by name, so that one that was unmounted or removed is noticed.
            _ = try Files.openDirectory("objects", in: try Files.openDirectory(root))
        }
    }

    // MARK: Files

    private func publish(_ file: PartialFiles.File, as key: ObjectKey) throws(ObjectStoreError) -> Creation {
        try Files.sync(file.descriptor, key.description)
        let (folders, name) = Self.split(key)
        let folder = try makeFolders(folders)
        var creation = Creation.created
        if linkat(partial.directory.number, file.name, folder.number, name, 0) != 0 {
            let code = errno
            guard code == EEXIST else { throw Files.failure("cannot create \(key)", code) }
            creation = .alreadyThere
        }
        // Whoever created it may not have come this far yet.
        try Files.sync(folder, key.description)
        return creation
    }

    private func remove(_ name: String, from folder: Descriptor, _ key: ObjectKey) throws(ObjectStoreError) {
        guard unlinkat(folder.number, name, 0) == 0 else {
            let code = errno
            if code == ENOENT { return }
            throw Files.failure("cannot delete \(key)", code)
        }
        try Files.sync(folder, key.description)
    }

    private func open(_ key: ObjectKey) throws(ObjectStoreError) -> Descriptor? {
        let (folders, name) = Self.split(key)
        guard let folder = try descend(folders) else { return nil }
        return try Files.openFile(name, in: folder)
    }

    private func descend(_ folders: [String]) throws(ObjectStoreError) -> Descriptor? {
        var folder = objects
        for name in folders {
            guard let next = try Files.openDirectoryIfThere(name, in: folder) else { return nil }
            folder = next
        }
        return folder
    }

    /// Opens the folders, makes those that are missing, and syncs what leads to them once.
    private func makeFolders(_ folders: [String]) throws(ObjectStoreError) -> Descriptor {
        var folder = objects
        var path = ""
        for name in folders {
            path += name + "/"
            let next: Descriptor
            if let there = try Files.openDirectoryIfThere(name, in: folder) {
                next = there
            } else {
                try Files.makeDirectory(name, in: folder)
                synced.withLock { _ = $0.remove(path) }
                next = try Files.openDirectory(name, in: folder)
            }
            if !synced.withLock({ $0.contains(path) }) {
                try Files.sync(folder, path)
                synced.withLock { _ = $0.insert(path) }
            }
            folder = next
        }
        return folder
    }

    private static func split(_ key: ObjectKey) -> (folders: [String], name: String) {
        var components = key.description.split(separator: "/").map(String.init)
        return (folders: Array(components.dropLast()), name: components.removeLast())
    }

    private func onThread<Value: Sendable>(
        _ deadline: Instant, _ body: @escaping @Sendable () throws(ObjectStoreError) -> Value
    ) async throws(ObjectStoreError) -> Value {
        let result: Result<Value, ObjectStoreError>
        do {
            result = try await threads.runIfActive { [now] () -> Result<Value, ObjectStoreError> in
                guard now() < deadline else {
                    return .failure(ObjectStoreError(.timedOut, "the disk was busy until the deadline"))
                }
                do throws(ObjectStoreError) {
                    return .success(try body())
                } catch {
                    return .failure(error)
                }
            }
        } catch {
            throw ObjectStoreError(.stopped, "the store was shut down")
        }
        return try result.get()
    }
}

internal import Glibc

/// One pass over the files in order of their paths' bytes.
struct Listing {
    private let prefix: [UInt8]
    private let after: [UInt8]?
    private let limit: Int
    private(set) var found: [ListedObject] = []
    /// The last second that nanoseconds of 64 bits can tell.
    private static let latest = Int(UInt64.max / 1_000_000_000)

    init(prefix: String, after: String?, limit: Int) {
        self.prefix = Array(prefix.utf8)
        self.after = after.map { Array($0.utf8) }
        self.limit = limit
    }

    /// - Parameter path: of the directory, ending in `/`; empty for the top.
    mutating func walk(_ directory: Descriptor, path: String) throws(ObjectStoreError) {
        // A directory is sorted as its files' paths begin: with a slash behind its name.
        var entries: [(path: String, isDirectory: Bool, name: String, created: UInt64)] = []
        for name in try Files.names(in: directory) {
            var facts = stat()
            guard fstatat(directory.number, name, &facts, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
            // Nothing is written to a file once it stands there.
            let created = UInt64(min(max(0, facts.st_mtim.tv_sec), Self.latest)) * 1_000_000_000
            switch facts.st_mode & S_IFMT {
            case S_IFDIR: entries.append((path + name + "/", true, name, created))
            case S_IFREG: entries.append((path + name, false, name, created))
            default: continue
            }
        }
        entries.sort { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
        for entry in entries {
            guard found.count < limit else { return }
            let bytes = Array(entry.path.utf8)
            if entry.isDirectory {
                guard bytes.starts(with: prefix) || prefix.starts(with: bytes) else { continue }
                if let after, bytes.lexicographicallyPrecedes(after), !after.starts(with: bytes) { continue }
                // It may have been removed meanwhile, as a file may.
                guard let next = try Files.openDirectoryIfThere(entry.name, in: directory) else { continue }
                try walk(next, path: entry.path)
            } else {
                guard bytes.starts(with: prefix), after.map({ $0.lexicographicallyPrecedes(bytes) }) ?? true,
                    let key = ObjectKey(entry.path)
                else { continue }
                guard let file = try Files.openFile(entry.name, in: directory) else { continue }
                found.append(
                    ListedObject(key: key, size: try Files.size(file, entry.path), created: entry.created))
            }
        }
    }
}

// A node that has become different from the others must not come back: its snapshots, and perhaps its log, hold a wrong state.
extension DataDirectory {
    private static let markBytes = 1024

    /// Makes every later ``open(_:cluster:node:in:options:entropy:)`` of this directory fail as `diverged`, durably.
    ///
    /// - Parameter reason: for the operator; the first that was given stays.
    public func markDiverged(_ reason: String) throws(StorageError) {
        do throws(FileError) {
            let mark = Self.divergencePath(path)
            if try fileSystem.exists(mark) { return }
            let file = try fileSystem.create(mark)
            defer { file.close() }
            try file.writeBytes(Array(reason.utf8.prefix(Self.markBytes)), at: 0)
            try file.synchronize()
            try fileSystem.synchronizeDirectory(path)
        } catch {
            throw StorageError(error)
        }
    }

    /// A mark that cannot be read, or was cut off by a crash, is as good as any.
    static func refuseDiverged(_ path: String, in fileSystem: any FileSystem) throws(StorageError) {
        let mark = divergencePath(path)
        var reason: [UInt8] = []
        do throws(FileError) {
            guard try fileSystem.exists(mark) else { return }
            let file = try fileSystem.open(mark)
            defer { file.close() }
            reason = try file.readBytes(markBytes, at: 0)
        } catch {
            throw StorageError(error)
        }
        throw StorageError(
            .diverged,
            "the node stopped because its state was not that of the majority"
                + (reason.isEmpty ? "" : ": " + String(decoding: reason, as: UTF8.self)),
            path: mark)
    }

    private static func divergencePath(_ path: String) -> String { path + "/DIVERGED" }
}

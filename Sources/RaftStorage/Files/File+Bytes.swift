extension File {
    /// Reads up to `count` bytes as an array; fewer when the file ends before.
    func readBytes(_ count: Int, at offset: UInt64) throws(FileError) -> [UInt8] {
        var failure: FileError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            do throws(FileError) {
                initialized = try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            } catch {
                failure = error
                initialized = 0
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// From here on reads return what is on the disk, as far as the kernel drops clean pages when it is told to.
    ///
    /// What a process before wrote and did not sync is in the page cache: dirty when it was killed, and taken for clean when the sync has
    /// failed, so that no later one writes it (Rebello et al., "Can applications recover from fsync failures?", ATC 2020).
    func settle() throws(FileError) {
        try synchronize()
        dropCached()
    }

    func writeBytes(_ bytes: [UInt8], at offset: UInt64) throws(FileError) {
        let result = bytes.withUnsafeBytes { buffer -> Result<Void, FileError> in
            do throws(FileError) { return .success(try write(buffer, at: offset)) } catch { return .failure(error) }
        }
        try result.get()
    }
}

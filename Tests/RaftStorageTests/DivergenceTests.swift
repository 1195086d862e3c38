import RaftStorage
import Testing

@Suite struct `A directory of a node that diverged` {
    @Test func `is never opened again, and says why`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk, options: Specimen.options)
        let directory = try DataDirectory.open(Store.path, in: disk, options: Specimen.options, entropy: entropy(2))
        try directory.markDiverged("after log entry 2048")
        try directory.markDiverged("after log entry 9")
        directory.close()
        // Names and bytes that were not synchronized are gone.
        disk.crash { _ in 0 }
        #expect {
            _ = try DataDirectory.open(Store.path, in: disk, options: Specimen.options, entropy: entropy(3))
        } throws: { error in
            let error = error as? StorageError
            return error?.code == .diverged && error?.message.hasSuffix("after log entry 2048") == true
                && error?.path == Store.path + "/DIVERGED"
        }
    }

    @Test func `counts when the reason was lost`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk, options: Specimen.options)
        try disk.create(Store.path + "/DIVERGED").close()
        #expect {
            _ = try DataDirectory.open(Store.path, in: disk, options: Specimen.options, entropy: entropy(3))
        } throws: {
            ($0 as? StorageError)?.code == .diverged
        }
    }
}

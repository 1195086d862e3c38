import CacheCore
import EsperTypes
import Foundation
import Glibc
import KernelCache
import RaftRuntime
import TestSupport
import Testing

/// Blobs on a node's own disk.
struct BlobDirectoryTests {
    private func withDirectory(
        threads: Int = 2, stall: Duration = .seconds(5), _ body: (BlobDirectory, String) async throws -> Void
    ) async throws {
        let path = NSTemporaryDirectory() + "/esper-blobs-\(UInt64.random(in: 0 ... .max))"
        let directory = try BlobDirectory(path: path, threads: threads, stall: stall)
        do { try await body(directory, path) } catch {
            await directory.close()
            try? FileManager.default.removeItem(atPath: path)
            throw error
        }
        await directory.close()
        try FileManager.default.removeItem(atPath: path)
    }

    private func blob(_ count: Int) -> Blob {
        let bytes = noise(count)
        return Blob(digest: Digest(hashing: bytes), bytes: bytes)
    }

    private func place(of blob: Blob, in path: String) -> String { blob.place(in: path) }

    @Test(.timeLimit(.minutes(1)))
    func `a disk that hangs takes its threads, and of each caller the time that he has given`() async throws {
        try await withDirectory(stall: .milliseconds(300)) { (directory, path) async throws in
            let blobs = (0..<3).map { _ in blob(1000) }
            try await directory.put(blobs, isSynced: true)
            let files = try blobs.prefix(2).map { blob throws in try HungFile(blob.place(in: path)) }
            func soon() -> Instant { NodeClock.now() + .milliseconds(100) }
            let start = NodeClock.now()
            for blob in blobs {
                await #expect(throws: PeerFailure.self) { try await directory.get([blob.digest], deadline: soon()) }
            }
            await #expect(throws: PeerFailure.self) {
                try await directory.put([blob(10)], isSynced: true, deadline: soon())
            }
            #expect(await directory.delete([blobs[2].digest], deadline: soon()) == [])
            #expect(NodeClock.now() - start < .seconds(5))
            // What stands in memory is told at once.
            #expect(directory.size.blobs == 3 && directory.touch(blobs.map(\.digest)).count == 3)
            // By now nobody waits any more.
            let failure = await #expect(throws: PeerFailure.self) {
                try await directory.get([blobs[2].digest], deadline: .distantFuture)
            }
            #expect(failure?.message == "the disk does not answer")
            for file in files { file.release() }
            try await until("the disk to be back") {
                (try? await directory.get([blobs[2].digest])) == [blobs[2].digest: blobs[2].bytes]
            }
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a read that nobody waits for any more stops at the next blob`() async throws {
        try await withDirectory(threads: 1) { directory, path in
            let (first, second, other) = (blob(1000), blob(1000), blob(1000))
            try await directory.put([first, second, other], isSynced: true)
            let file = try HungFile(first.place(in: path))
            defer { file.release() }
            // Whoever reads it removes it.
            try Data(count: 1000).write(to: URL(fileURLWithPath: second.place(in: path)))
            await #expect(throws: PeerFailure.self) {
                try await directory.get(
                    [first.digest, second.digest], deadline: NodeClock.now() + .milliseconds(100))
            }
            file.release()
            #expect(try await directory.get([other.digest]) == [other.digest: other.bytes])
            #expect(directory.has(second.digest))
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a directory on a disk that hangs can be closed`() async throws {
        try await withDirectory { directory, path in
            let blob = blob(1000)
            try await directory.put([blob], isSynced: true)
            let file = try HungFile(blob.place(in: path))
            defer { file.release() }
            await #expect(throws: PeerFailure.self) {
                try await directory.get([blob.digest], deadline: NodeClock.now() + .milliseconds(50))
            }
            await directory.close()
            await #expect(throws: PeerFailure.self) { try await directory.get([blob.digest]) }
        }
    }

    @Test func `what a store has wanted since it was found idle stays`() async throws {
        try await withDirectory { directory, _ in
            let (wanted, idle) = (blob(100), blob(200))
            try await directory.put([wanted, idle], isSynced: true)
            #expect(directory.touch([wanted.digest]) == [wanted.digest])
            let times = Dictionary(directory.entries().map { ($0.digest, $0.idle) }) { $1 }
            let (recent, old) = (try #require(times[wanted.digest]), try #require(times[idle.digest]))
            #expect(recent < old)
            let early = await directory.delete([wanted.digest, idle.digest], idleFor: .seconds(3600))
            #expect(early == [] && directory.has(wanted.digest) && directory.has(idle.digest))
            let deleted = await directory.delete([idle.digest])
            #expect(deleted == [idle.digest])
            #expect(try await directory.get([wanted.digest, idle.digest]) == [wanted.digest: wanted.bytes])
        }
    }

    @Test func `a blob that is removed while it is put again is there afterwards`() async throws {
        try await withDirectory { directory, path in
            let blobs = (0..<64).map { _ in blob(1000) }
            try await directory.put(blobs, isSynced: false)
            for _ in 0..<50 {
                async let removed = directory.delete(blobs.map(\.digest))
                try await directory.put(blobs, isSynced: false)
                _ = await removed
                for blob in blobs where directory.has(blob.digest) {
                    #expect(FileManager.default.fileExists(atPath: place(of: blob, in: path)))
                }
            }
        }
    }

    @Test func `those who find a damaged file leave alone what was put there after it`() async throws {
        try await withDirectory { directory, path in
            let blob = blob(1000)
            let file = place(of: blob, in: path)
            for _ in 0..<200 {
                try await directory.put([blob], isSynced: false)
                try Data(count: 1000).write(to: URL(fileURLWithPath: file))
                await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<4 {
                        group.addTask {
                            _ = try await directory.get([blob.digest])
                            try await directory.put([blob], isSynced: number % 2 == 0)
                        }
                    }
                }
                #expect(directory.has(blob.digest))
                #expect(try await directory.get([blob.digest]) == [blob.digest: blob.bytes])
                _ = await directory.delete([blob.digest])
            }
        }
    }

    @Test func `a file that cannot be read is no damage, and nothing is known to be absent`() async throws {
        try await withDirectory { directory, path in
            let blob = blob(300)
            try await directory.put([blob], isSynced: true)
            let file = place(of: blob, in: path)
            try FileManager.default.moveItem(atPath: file, toPath: file + "-away")
            try FileManager.default.createDirectory(atPath: file, withIntermediateDirectories: false)
            await #expect(throws: PeerFailure.self) { try await directory.get([blob.digest]) }
            #expect(directory.has(blob.digest) && directory.damaged == 0)
            try FileManager.default.removeItem(atPath: file)
            try FileManager.default.moveItem(atPath: file + "-away", toPath: file)
            #expect(try await directory.get([blob.digest])[blob.digest] == blob.bytes)
        }
    }

    @Test func `a file that is gone or of other bytes is forgotten`() async throws {
        try await withDirectory { directory, path in
            let (gone, wrong) = (blob(300), blob(400))
            try await directory.put([gone, wrong], isSynced: true)
            try FileManager.default.removeItem(atPath: place(of: gone, in: path))
            try Data(noise(400)).write(to: URL(fileURLWithPath: place(of: wrong, in: path)))
            #expect(try await directory.get([gone.digest, wrong.digest]).isEmpty)
            #expect(directory.damaged == 2 && directory.size.blobs == 0)
        }
    }
}

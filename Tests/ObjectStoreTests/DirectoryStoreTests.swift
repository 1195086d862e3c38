import EsperTypes
import Foundation
import Glibc
import ObjectStore
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct DirectoryStoreTests {
    private func withStore(_ body: (DirectoryStore, String) async throws -> Void) async throws {
        let root = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: root) }
        let store = try DirectoryStore(at: root + "/deep/store", now: currentInstant)
        try await body(store, root + "/deep/store")
        await store.shutdown()
    }

    private func key(_ text: String) throws -> ObjectKey { try #require(ObjectKey(text)) }

    @Test func `of many writers one creates`() async throws {
        try await withStore { store, root in
            let other = try DirectoryStore(at: root, now: currentInstant)
            let key = try key("a/b")
            let created = try await withThrowingTaskGroup(of: (UInt8, Creation).self) { group in
                for writer in 0..<32 as Range<UInt8> {
                    group.addTask {
                        let bytes = [UInt8](repeating: writer, count: 5000)
                        return (writer, try await (writer % 2 == 0 ? store : other).put(key, bytes, deadline: .soon))
                    }
                }
                return try await group.reduce(into: [UInt8]()) { if $1.1 == .created { $0.append($1.0) } }
            }
            #expect(created.count == 1)
            let bytes = try await store.get(key, range: nil, deadline: .soon)
            #expect(bytes == [UInt8](repeating: created[0], count: 5000))
            await other.shutdown()
            #expect(try files(below: root + "/partial").isEmpty)
        }
    }

    @Test func `pieces become one object, or none when they break off`() async throws {
        try await withStore { store, root in
            let pieces = Mutex(5)
            let creation = try await store.putLarge(try key("large"), deadline: .soon) {
                () async throws(ObjectStoreError) in
                pieces.withLock { left -> [UInt8]? in
                    left -= 1
                    return left < 0 ? nil : [UInt8](repeating: UInt8(left), count: 100_000)
                }
            }
            #expect(creation == .created)
            #expect(try await store.head(try key("large"), deadline: .soon)?.size == 500_000)
            await #expect(throws: ObjectStoreError(.damaged, "cut")) {
                _ = try await store.putLarge(try key("broken"), deadline: .soon) {
                    () async throws(ObjectStoreError) in throw ObjectStoreError(.damaged, "cut")
                }
            }
            #expect(try await store.head(try key("broken"), deadline: .soon) == nil)
            #expect(try files(below: root + "/partial").isEmpty)
        }
    }

    @Test func `keys come in order of their bytes, page by page`() async throws {
        try await withStore { store, _ in
            let names = ["a", "a-b/c", "a.b", "b/a", "b/a-", "b/b/c", "b-a", "c/1", "c/2", "c/3"]
            for name in names { _ = try await store.put(try key(name), [1, 2], deadline: .soon) }
            let ordered = try names.map { try key($0) }.sorted()
            for limit in [1, 3, 100] {
                var found: [ObjectKey] = []
                while true {
                    let page = try await store.list(prefix: "", after: found.last, limit: limit, deadline: .soon)
                    #expect(page.count <= limit)
                    found += page.map(\.key)
                    if page.isEmpty { break }
                }
                #expect(found == ordered)
            }
            let some = try await store.list(prefix: "b/", after: nil, limit: 100, deadline: .soon)
            #expect(some.map(\.key.description) == ["b/a", "b/a-", "b/b/c"])
            #expect(some.allSatisfy { $0.size == 2 })
        }
    }

    @Test(arguments: [
        "", "/", "/etc/passwd", "../x", "a/../b", "a//b", "a/./b", "a/", "a b", "a\u{0}b", "ä", "a\\b", "%2e%2e",
    ])
    func `keys that could lead elsewhere are none`(text: String) {
        #expect(ObjectKey(text) == nil)
    }

    @Test func `symbolic links are not followed`() async throws {
        try await withStore { store, root in
            let outside = try temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: outside) }
            try Data("secret".utf8).write(to: URL(fileURLWithPath: outside + "/file"))
            #expect(symlink(outside, root + "/objects/link") == 0)
            #expect(symlink(outside + "/file", root + "/objects/file") == 0)
            for name in ["link/file", "file"] {
                let error = await #expect(throws: ObjectStoreError.self) {
                    try await store.get(try key(name), range: nil, deadline: .soon)
                }
                #expect(error?.code == .invalid)
            }
            let error = await #expect(throws: ObjectStoreError.self) {
                try await store.put(try key("link/new"), [1], deadline: .soon)
            }
            #expect(error?.code == .invalid)
            #expect(!FileManager.default.fileExists(atPath: outside + "/new"))
            #expect(try await store.put(try key("file"), [1], deadline: .soon) == .alreadyThere)
            #expect(try await store.list(prefix: "", after: nil, limit: 9, deadline: .soon).isEmpty)
        }
    }

    @Test func `what a crashed writer left is removed, what a living one writes is not`() async throws {
        try await withStore { store, root in
            // A writer whose process is gone: nobody holds its lock.
            try FileManager.default.createDirectory(
                atPath: root + "/partial/1-1", withIntermediateDirectories: false)
            try Data("half".utf8).write(to: URL(fileURLWithPath: root + "/partial/1-1/7"))
            let other = try DirectoryStore(at: root, now: currentInstant)
            #expect(try files(below: root + "/partial").isEmpty)
            // The first store's directory was not taken for abandoned.
            #expect(try await store.put(try key("x"), [1], deadline: .soon) == .created)
            await other.shutdown()
        }
    }

    @Test(.enabled(if: SmallDisk.isPossible, "mounting needs root"))
    func `a full disk is told as such, and room makes it work again`() async throws {
        let disk = try SmallDisk(bytes: 1 << 20)
        defer { disk.remove() }
        let store = try DirectoryStore(at: disk.path, now: currentInstant)
        _ = try await store.put(try key("first"), [UInt8](repeating: 1, count: 500_000), deadline: .soon)
        let error = await #expect(throws: ObjectStoreError.self) {
            try await store.put(try key("second"), [UInt8](repeating: 2, count: 900_000), deadline: .soon)
        }
        #expect(error?.code == .full)
        #expect(try await store.head(try key("second"), deadline: .soon) == nil)
        try await store.delete(try key("first"), deadline: .soon)
        let creation = try await store.put(
            try key("second"), [UInt8](repeating: 2, count: 900_000), deadline: .soon)
        #expect(creation == .created)
        await store.shutdown()
    }

    private func files(below path: String) throws -> [String] {
        let walker = try #require(FileManager.default.enumerator(atPath: path))
        return walker.compactMap { $0 as? String }.filter { name in
            var isDirectory: ObjCBool = false
            return FileManager.default.fileExists(atPath: path + "/" + name, isDirectory: &isDirectory)
                && !isDirectory.boolValue
        }
    }
}

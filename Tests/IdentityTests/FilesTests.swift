import Glibc
import Identity
import Testing

@Suite struct FilesTests {
    /// A directory of this test's own, removed with it.
    private final class Directory {
        let path: String

        init() throws {
            var template = Array("/tmp/esper-identity-XXXXXX".utf8CString)
            path = String(cString: try #require(mkdtemp(&template)))
        }

        func file(_ name: String) -> String { "\(path)/\(name)" }

        var names: [String] {
            guard let directory = opendir(path) else { return [] }
            defer { closedir(directory) }
            var found: [String] = []
            while let entry = readdir(directory) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
                }
                if name != ".", name != ".." { found.append(name) }
            }
            return found.sorted()
        }

        deinit {
            for name in names { unlink(file(name)) }
            rmdir(path)
        }
    }

    @Test func `files are readable by their owner alone and leave no temporary behind`() throws {
        let directory = try Directory()
        let issued = try authority().issue(.node, name: "n1", validFor: day, now: today)
        try issued.write(
            certificate: directory.file("n1.pem"), privateKey: directory.file("n1-key.pem"), replacing: false)
        #expect(directory.names == ["n1-key.pem", "n1.pem"])
        for name in directory.names {
            var status = stat()
            #expect(stat(directory.file(name), &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600)
        }
    }

    @Test func `an existing file is replaced only on request`() throws {
        let directory = try Directory()
        try PEMFile.write("one", to: directory.file("x"), replacing: false)
        let error = #expect(throws: IdentityError.self) {
            try PEMFile.write("two", to: directory.file("x"), replacing: false)
        }
        #expect(error?.code == .exists)
        #expect(try PEMFile.read(directory.file("x")) == "one")
        try PEMFile.write("two", to: directory.file("x"), replacing: true)
        #expect(try PEMFile.read(directory.file("x")) == "two")
        #expect(directory.names == ["x"])
    }

    @Test func `a file that is missing is named with the reason`() {
        let error = #expect(throws: IdentityError.self) { try PEMFile.read("/nonexistent/ca.pem") }
        #expect(error?.message == "cannot open /nonexistent/ca.pem: No such file or directory")
    }

    @Test func `an authority and its leaves load from their files`() throws {
        let directory = try Directory()
        let authority = try authority()
        try PEMFile.write(try authority.certificatePEM, to: directory.file("ca.pem"), replacing: false)
        let issued = try authority.issue(.client, name: "ops", validFor: day, now: today)
        try issued.write(
            certificate: directory.file("ops.pem"), privateKey: directory.file("ops-key.pem"), replacing: false)
        let loaded = try TLSCredentials(
            certificateFile: directory.file("ops.pem"), privateKeyFile: directory.file("ops-key.pem"),
            authorityFile: directory.file("ca.pem"), now: today)
        #expect(loaded.identity == issued.identity)
    }
}

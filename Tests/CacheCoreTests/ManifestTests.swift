import CacheCore
import EsperTypes
import Testing

@Suite struct ManifestTests {
    private let manifest = Manifest(
        writer: "client/alice",
        files: [
            .init(name: "a/kernel.cubin", content: .blobs([BlobReference(digest: Digest(words: 1, 2, 3, 4), size: 7)])),
            .init(name: "a/kernel.json", content: .inline([1, 2, 3])),
        ])

    @Test func readsWhatItWrites() throws {
        try manifest.validate()
        #expect(try Manifest(decoding: manifest.encoded()) == manifest)
    }

    @Test func damagedBytesAreRefused() {
        let bytes = manifest.encoded()
        for count in 0..<bytes.count {
            #expect(throws: DecodingError.self) { try Manifest(decoding: Array(bytes.prefix(count))) }
        }
        #expect(throws: DecodingError.self) { try Manifest(decoding: bytes + [0]) }
        #expect(throws: DecodingError.unknownTag(9)) { try Manifest(decoding: [9] + bytes.dropFirst()) }
    }

    @Test(arguments: ["", ".", "..", "/a", "a/", "a//b", "a/../b", "a\u{0}b", String(repeating: "x", count: 1025)])
    func namesThatLeaveTheDirectoryAreRefused(name: String) {
        var wrong = manifest
        wrong.files[0].name = name
        #expect(throws: ManifestError.fileName(name)) { try wrong.validate() }
    }

    @Test func sizesAreBounded() {
        var wrong = manifest
        wrong.files[1].content = .inline(Array(repeating: 0, count: CacheLimits.inlineBytes + 1))
        #expect(throws: ManifestError.inlineSize("a/kernel.json", CacheLimits.inlineBytes + 1)) {
            try wrong.validate()
        }
        wrong = manifest
        wrong.files[0].content = .blobs(
            Array(repeating: BlobReference(digest: Digest(words: 1, 2, 3, 4), size: 7), count: 2))
        #expect(throws: ManifestError.blobSize("a/kernel.cubin", 7)) { try wrong.validate() }
        wrong = manifest
        wrong.files = []
        #expect(throws: ManifestError.noFiles) { try wrong.validate() }
        wrong = manifest
        wrong.files[1].name = wrong.files[0].name
        #expect(throws: ManifestError.duplicateFile("a/kernel.cubin")) { try wrong.validate() }
    }
}

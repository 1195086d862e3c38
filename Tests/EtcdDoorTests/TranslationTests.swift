import Coordination
import Crypto
import EsperTypes
import EtcdDoor
import EtcdProtocol
import SwiftProtobuf
import Testing

@Suite struct TranslationTests {
    @Test func aQueueHasTheKeysOfTheRecipe() {
        let lease: Int64 = 0x694d_6ea0_f4b1_d90c
        #expect(EtcdQueue(Array("jobs".utf8)).key(of: lease) == Array("jobs/694d6ea0f4b1d90c".utf8))
        #expect(EtcdQueue(Array("jobs".utf8)).key(of: 42) == Array("jobs/2a".utf8))
        // A lock of Esper's own has every digit, so that its session is found at one place.
        #expect(EtcdQueue(Array("_lock/jobs".utf8)).key(of: 42) == Array("_lock/jobs/000000000000002a".utf8))
    }

    @Test func aPeerURLNamesTheMember() throws {
        let member = try #require(
            NewMember(peerURL: "https://10.0.0.4:7400/?name=n4&api=10.0.0.4:7401&zone=b"))
        #expect(member.name == "n4")
        #expect(member.peer == HostPort(host: "10.0.0.4", port: 7400))
        #expect(member.api == HostPort(host: "10.0.0.4", port: 7401))
        #expect(member.zone == "b")
    }

    @Test(arguments: [
        "", "https://", "https://10.0.0.4:7400", "https://10.0.0.4:7400/?name=n4",
        "http://10.0.0.4:7400/?name=n4&api=h:1",
        "https://10.0.0.4/?name=n4&api=h:1", "https://10.0.0.4:7400/?name&api=h:1", "https://?",
    ])
    func otherPeerURLsAreRefused(url: String) { #expect(NewMember(peerURL: url) == nil) }

    @Test func aSnapshotEndsWithItsDigest() {
        var stream = SnapshotStream(StateMachine())
        var bytes: [UInt8] = []
        while let chunk = stream.next() { bytes += chunk.bytes }
        #expect(bytes.count % 512 == 32)
        #expect(Array(SHA256.hash(data: bytes.dropLast(32))) == Array(bytes.suffix(32)))
        #expect(stream.next() == nil)
    }

    private static func keyValue(_ key: String) -> KeyValue {
        KeyValue(
            key: Array(key.utf8), value: [], createRevision: Revision(2), modRevision: Revision(3), version: 1)
    }

    @Test func aDirectoryListsWhatIsBelow() throws {
        let below = ["/a/b", "/a/c/d", "/a/c/e/f", "/a/g"].map(Self.keyValue)
        let shallow = V2Node.directory(Array("/a".utf8), below, isRecursive: false)
        #expect(shallow.nodes?.map(\.key) == ["/a/b", "/a/c", "/a/g"])
        #expect(shallow.nodes?.map { $0.dir ?? false } == [false, true, false])
        #expect(shallow.nodes?[1].nodes == nil)
        let deep = V2Node.directory(Array("/a".utf8), below, isRecursive: true)
        let inner = try #require(deep.nodes?[1].nodes)
        #expect(inner.map(\.key) == ["/a/c/d", "/a/c/e"])
        #expect(inner[1].nodes?.map(\.key) == ["/a/c/e/f"])
    }

    @Test(arguments: EtcdMethod.allCases)
    func everyMethodTakesAnEmptyRequestInJSON(method: EtcdMethod) throws {
        let transcoder = JSONTranscoder(method)
        #expect(try transcoder.request([]).isEmpty)
        #expect(try transcoder.request(Array("{}".utf8)).isEmpty)
        #expect(try transcoder.answer([]) == Array("{}".utf8))
    }

    @Test(arguments: [
        #"{"key":"Zm9v","lease":"77"}"#, #"{"key":"Zm9v","lease":77}"#, #"{"key":"Zm9v","lease":77,"new":1}"#,
    ])
    func numbersAreTakenAsTextToo(json: String) throws {
        let request = try EtcdPutRequest(serializedBytes: JSONTranscoder(.put).request(Array(json.utf8)))
        #expect(Array(request.key) == Array("foo".utf8))
        #expect(request.lease == 77)
    }

    @Test(arguments: ["{", "[]", #"{"key":1}"#, #"{"key":"*"}"#, #"{"lease":"x"}"#, "\u{0}", #""foo""#])
    func otherJSONIsRefused(json: String) {
        #expect(throws: (any Error).self) { try JSONTranscoder(.put).request(Array(json.utf8)) }
    }
}

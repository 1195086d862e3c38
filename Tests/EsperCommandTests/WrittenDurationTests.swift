import EsperTypes
import Testing
import esper

struct WrittenDurationTests {
    @Test(arguments: [("1m30s", Duration.seconds(90)), ("0", .zero)])
    func `an option takes a duration as people write it`(text: String, duration: Duration) throws {
        #expect(try WrittenDuration.read(text).duration == duration)
        #expect(throws: (any Error).self) { try WrittenDuration.read("soon") }
    }

    @Test func `peers are names with commas between them`() throws {
        #expect(try PeerList.read("n2").names == ["n2"])
        #expect(try PeerList.read("n2,n3").names == ["n2", "n3"])
        for wrong in ["", ",", "n2,", "n2,,n3"] {
            #expect(throws: (any Error).self) { try PeerList.read(wrong) }
        }
    }
}

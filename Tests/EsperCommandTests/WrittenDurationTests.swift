import EsperTypes
import Testing
import esper

struct WrittenDurationTests {
    @Test(arguments: [("1m30s", Duration.seconds(90)), ("0", .zero)])
    func `an option takes a duration as people write it`(text: String, duration: Duration) throws {
        #expect(try #require(WrittenDuration(argument: text)).duration == duration)
        #expect(WrittenDuration(argument: "soon") == nil)
    }

    @Test func `peers are names with commas between them`() {
        #expect(PeerList(argument: "n2")?.names == ["n2"])
        #expect(PeerList(argument: "n2,n3")?.names == ["n2", "n3"])
        for wrong in ["", ",", "n2,", "n2,,n3"] { #expect(PeerList(argument: wrong) == nil) }
    }
}

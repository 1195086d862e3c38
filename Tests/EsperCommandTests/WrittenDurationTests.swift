import EsperTypes
import Testing
import esper

struct WrittenDurationTests {
    @Test(arguments: [
        ("500ms", Duration.milliseconds(500)), ("15s", .seconds(15)), ("2m", .seconds(120)), ("1h", .seconds(3600)),
        ("90d", .seconds(7_776_000)), ("1m30s", .seconds(90)), ("250us", .microseconds(250)), ("0s", .zero),
        ("0", .zero),
    ])
    func `durations read as people write them`(text: String, duration: Duration) throws {
        #expect(try #require(WrittenDuration(argument: text)).duration == duration)
    }

    @Test(arguments: ["", "15", "s", "15 s", "-1s", "1.5s", "15x", "99999999999999999999s", "9999999999d", "１s"])
    func `everything else is refused`(text: String) {
        #expect(WrittenDuration(argument: text) == nil)
    }

    @Test(arguments: ["500ms", "15s", "2m", "1h", "90d", "250us", "90s"])
    func `what is printed reads back`(text: String) throws {
        let written = try #require(WrittenDuration(argument: text))
        #expect(WrittenDuration(argument: written.description) == written)
    }
}

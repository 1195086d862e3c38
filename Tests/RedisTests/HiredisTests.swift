import Redis
import Testing

@Suite struct HiredisTests {
    @Test func libraryIsThere() {
        #expect(hiredisVersion.split(separator: ".").count == 3)
    }
}

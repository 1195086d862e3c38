import EsperNode
import Glibc
import Testing

@Suite struct StopWatchdogTests {
    @Test func `a stop that hangs is ended by force, with a line`() async {
        let result = await #expect(processExitsWith: .exitCode(1), observing: [\.standardErrorContent]) {
            StopWatchdog.arm(limit: .milliseconds(50))
            while true { pause() }
        }
        let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(text.contains("the stop did not end within 0.05 seconds"))
    }
}

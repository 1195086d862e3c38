import Observability
import Testing

@Suite struct HealthTests {
    @Test func `a degraded component is ready and says so`() {
        let health = Health()
        let catalog = health.component("catalog")
        #expect(!health.report.isReady)
        catalog.degraded("PostgreSQL is down")
        #expect(health.report.isReady)
        #expect(health.report.state == .degraded)
        #expect(
            health.report.json
                == #"{"state":"degraded","alive":true,"ready":true,"components":[{"name":"catalog","scope":"readiness","#
                + #""state":"degraded","reason":"PostgreSQL is down"}]}"#)
    }

    @Test func `only a failing liveness component makes the process dead`() {
        let health = Health()
        health.component("catch-up").failing("12 entries behind")
        let loop = health.component("core loop", scope: .liveness, state: .ok)
        #expect(health.report.isAlive)
        #expect(!health.report.isReady)
        loop.failing("no turn for 10 s")
        #expect(!health.report.isAlive)
    }
}

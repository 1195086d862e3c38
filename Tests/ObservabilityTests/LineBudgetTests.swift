import Observability
import Testing

@Suite struct LineBudgetTests {
    @Test func `each reason has a line a second, which says how many were kept back`() {
        let budget = LineBudget()
        let start = ContinuousClock.now
        #expect(budget.admit("aborted", at: start) == 0)
        for number in 1...3 { #expect(budget.admit("aborted", at: start + .milliseconds(number)) == nil) }
        #expect(budget.admit("flood", at: start + .milliseconds(5)) == 0)
        #expect(budget.admit("aborted", at: start + .milliseconds(999)) == nil)
        #expect(budget.admit("aborted", at: start + .seconds(1)) == 4)
        #expect(budget.admit("aborted", at: start + .seconds(2)) == 0)
    }
}

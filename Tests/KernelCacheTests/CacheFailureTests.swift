import Coordination
import EsperTypes
import KernelCache
import RaftRuntime
import Testing

@Suite struct CacheFailureTests {
    @Test func aConflictIsNotRetried() {
        #expect(!CacheFailure(.conflict, "").isRetryable)
        #expect(CacheFailure(.noLeader, "").isRetryable)
    }

    @Test func `what the state machine refuses keeps its meaning`() {
        #expect(CacheFailure(Refusal.permissionDenied).code == .permissionDenied)
        #expect(CacheFailure(Refusal.clientUnknown(ClientID(7))).code == .clientUnknown)
        #expect(CacheFailure(Refusal.clientUnknown(ClientID(7))).outcome == .unknown)
    }
}

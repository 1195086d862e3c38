import Testing

/// A test that shows a fault before its mend.
struct KnownFault: TestTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable @concurrent () async throws -> Void
    ) async throws {
        await withKnownIssue(isIntermittent: true) { try await function() }
    }
}

extension Trait where Self == KnownFault {
    static var knownFault: Self { KnownFault() }
}

import Testing

/// Shows a fault that is there still: the test must fail until it is mended.
struct KnownFault: TestTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        await withKnownIssue { try await function() }
    }
}

import ArgumentParser
import EsperClient
import EsperTypes

/// A session that a command keeps alive, and what it does while it holds something by it.
struct HeldSession: Sendable {
    private let session: Session
    private let client: EsperClient

    var id: SessionID { session.id }

    static func open(_ client: EsperClient, _ options: SessionOptions) async throws -> HeldSession {
        HeldSession(
            session: try await client.openSession(ttl: options.ttl.duration, label: options.label), client: client)
    }

    /// Waits for `body`; an interruption or the session's end cancels it.
    func whileWaiting<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
        try await withThrowingTaskGroup(of: Value?.self) { group in
            group.addTask { try await session.whileAlive { try await body() } }
            group.addTask {
                guard let signal = await Interruption.shared.wait() else { return nil }
                throw CommandFailure(.failed, "interrupted by signal \(signal) while waiting", reason: "interrupted")
            }
            defer { group.cancelAll() }
            while let value = try await group.next() {
                if let value { return value }
            }
            throw CancellationError()
        }
    }

    /// Runs a command for as long as the session lives and nobody gives back `claim` in its name, then gives it back.
    ///
    /// - Parameter claim: what is held; nil when only the session's end can tell that it was lost.
    /// - Parameter answer: of the command's exit code; printed when it has ended by itself.
    /// - Throws: the command's exit code, when it is not 0; ``CommandFailure`` when what was held was lost.
    func run(
        _ command: [String], environment: [String: String], holding what: String, _ claim: HeldClaim?, quietly: Bool,
        answer: (Int32) -> Void
    ) async throws {
        let child: GuardedChild
        do {
            child = try GuardedChild(command, environment: environment, outputToError: quietly)
        } catch {
            await close()
            throw error
        }
        let (code, lost) = await child.run(until: { await lossOrInterruption(of: child, claim) })
        if let lost {
            await close()
            throw CommandFailure(.failed, "\(what) was lost (\(lost)); the command was ended", reason: "lost")
        }
        await close()
        answer(code)
        if code != 0 { throw ExitCode(code) }
    }

    /// Keeps the session alive until a signal comes, then ends it.
    func holdUntilInterrupted(holding what: String, _ claim: HeldClaim?) async throws {
        let lost = await lossOrInterruption(claim, interrupted: { _ in .stop })
        await close()
        if let lost { throw CommandFailure(.failed, "\(what) was lost (\(lost))", reason: "lost") }
    }

    /// Ends the session and with it all that is held by it. A failure is said and otherwise harmless: the session ends
    /// by itself after its time to live.
    func close() async {
        do {
            try await session.close()
        } catch {
            Terminal.complain("session \(id) could not be ended and lives for up to \(session.ttl): \(error.message)")
        }
    }

    /// Leaves the session to its time to live.
    func abandon() { session.abandon() }

    /// Why the command must end; passes signals on to it and goes on waiting.
    private func lossOrInterruption(of child: GuardedChild, _ claim: HeldClaim?) async -> String? {
        await lossOrInterruption(claim) { signal in
            child.forward(signal)
            return .goOn
        }
    }

    private enum Step: Sendable {
        case lost(String)
        case goOn
        case stop
    }

    /// What ends the right to what is held: the session's end, or that somebody gave it back in its name.
    ///
    /// - Returns: nil when `interrupted` said to stop, or the task was cancelled.
    private func lossOrInterruption(
        _ claim: HeldClaim?, interrupted: @escaping @Sendable (CInt) -> Step
    ) async -> String? {
        await withTaskGroup(of: Step.self) { group in
            group.addTask { await session.waitUntilEnded().map { .lost(Self.words($0)) } ?? .goOn }
            if let claim { group.addTask { await client.loss(of: claim).map { .lost($0.message) } ?? .goOn } }
            group.addTask { await Interruption.shared.wait().map(interrupted) ?? .goOn }
            defer { group.cancelAll() }
            while let step = await group.next() {
                switch step {
                case .lost(let reason): return reason
                case .stop: return nil
                case .goOn: break
                }
            }
            return nil
        }
    }

    private static func words(_ end: Session.End) -> String {
        switch end {
        case .closed: "the session was closed"
        case .expired: "the session expired"
        case .unconfirmed: "no keep-alive was confirmed in time"
        }
    }
}

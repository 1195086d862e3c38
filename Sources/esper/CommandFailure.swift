/// Why a command did not do what it was asked, with the exit code that says so to scripts.
package struct CommandFailure: Error {
    enum Code: Int32 {
        case failed = 1
        case usage = 2
        /// The command was sent and may have taken effect.
        case unknownOutcome = 3
        case timedOut = 4
    }

    var code: Code
    /// One line: what is wrong and what to do. Empty when everything has been said.
    package var message: String
    /// A stable word for programs.
    var reason: String
    /// `not_committed` or `unknown`, of a command that changes something.
    var outcome: String?

    init(_ code: Code, _ message: String, reason: String = "failed", outcome: String? = nil) {
        self.code = code
        self.message = message
        self.reason = reason
        self.outcome = outcome
    }

    init(_ message: String) { self.init(.failed, message) }

    init(describing error: any Error) { self = error as? CommandFailure ?? CommandFailure("\(error)") }
}

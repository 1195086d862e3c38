/// What a client may be told about a command; *unknown* is never folded into *not committed*.
public enum Outcome: String, Hashable, Sendable {
    /// The command is in the log for good and its effects are in every later read.
    case committed
    /// The command had no effect and never will have.
    case notCommitted = "not_committed"
    /// The command may have taken effect, may take effect later, or never.
    case unknown
}

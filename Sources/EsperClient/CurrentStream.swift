internal import Synchronization

/// The call a ``ResumedStream`` reads from now, and how often it broke without bringing anything.
final class CurrentStream: Sendable {
    private let state = Mutex<(stream: MessageStream?, failures: Int)>((nil, 0))

    var stream: MessageStream? {
        get { state.withLock { $0.stream } }
        set { state.withLock { $0.stream = newValue } }
    }

    var failures: Int {
        get { state.withLock { $0.failures } }
        set { state.withLock { $0.failures = newValue } }
    }
}

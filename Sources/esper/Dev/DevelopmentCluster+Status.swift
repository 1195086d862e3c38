/// Asking the nodes of this host how they are.
extension DevelopmentCluster {
    /// The node that leads, by the word of the node with the highest term; nil when none does.
    func leader() async throws -> Node? {
        nil
    }

    /// Waits until every node answers, all name the same leader and have applied what it had committed.
    ///
    /// - Throws: ``CommandFailure`` with code `timedOut`, or at once when a node's process has ended.
    func waitUntilReady(for limit: WrittenDuration) async throws -> ClusterStatus {
        throw CommandFailure("unfinished")
    }
}

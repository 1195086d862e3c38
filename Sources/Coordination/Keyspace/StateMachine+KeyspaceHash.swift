public import EsperTypes

extension StateMachine {
    /// A digest of the keyspace as it was at a revision: key, value, revisions, version and session of every key that was
    /// live. Equal on replicas that can read the revision, however far each has applied or compacted; it is for finding
    /// accidents. 0 means the latest revision.
    ///
    /// - Throws: ``Refusal/compacted(at:)`` or ``Refusal/futureRevision(current:)``.
    /// - Complexity: O(keys and values); take it of a copy on another thread.
    public func keyspaceHash(at revision: Revision = .zero) throws(Refusal) -> UInt64 {
        var digest = Digest64()
        for version in keyspace.versions(in: .all, at: try keyspace.readable(revision)) {
            digest.add(version.key)
            digest.add(version.value)
            digest.add(version.createRevision.rawValue)
            digest.add(version.modRevision.rawValue)
            digest.add(version.version)
            digest.add(version.storage.session.rawValue)
        }
        return digest.value
    }
}

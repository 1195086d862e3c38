/// What the cluster's status says of a node's catalog; the words of `StatusResponse.catalog` and of `/v1/cluster/status`.
public enum CatalogState: String, CaseIterable, Sendable {
    case ok
    /// Not reached at present: records wait in the outbox.
    case degraded
    /// None is configured.
    case disabled
}

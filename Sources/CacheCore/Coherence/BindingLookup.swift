/// What a node's own copy of the names says of one.
public enum BindingLookup: Hashable, Sendable {
    /// Bound: live, evicted or quarantined, as the binding says, and not expired.
    case found(Binding)
    /// Not bound, as far as the whole cluster is concerned.
    case absent
}

extension Migration {
    /// What the names of the cache stand for, for whoever searches them. Never asked by the cache itself: a row may be late.
    static let bindings = Migration(
        number: 2, name: "names of the cache",
        statements: [
            """
            CREATE TABLE esper.cache_binding (
                name bytea PRIMARY KEY,
                tenant text NOT NULL,
                version bigint NOT NULL,
                state text NOT NULL CHECK (state IN ('live', 'quarantined', 'tombstone')),
                kind text CHECK (kind IN ('action', 'alias')),
                manifest bytea CHECK (length(manifest) = 32),
                lineage bytea CHECK (length(lineage) = 32),
                size bigint NOT NULL,
                cost_ms bigint NOT NULL,
                mode text,
                tiers integer NOT NULL,
                expires_at timestamptz,
                actor text NOT NULL,
                changed_at timestamptz NOT NULL)
            """,
            "CREATE INDEX cache_binding_manifest ON esper.cache_binding (manifest) WHERE manifest IS NOT NULL",
            "CREATE INDEX cache_binding_lineage ON esper.cache_binding (lineage) WHERE lineage IS NOT NULL",
            "CREATE INDEX cache_binding_expires ON esper.cache_binding (expires_at) WHERE expires_at IS NOT NULL",
        ])
}

extension Migration {
    /// Bytes of the cache's blobs. Nobody but the cache's tier reads or writes it; names are no part of it.
    static let payloads = Migration(
        number: 3, name: "payloads of the cache",
        statements: [
            // Without a payload: it was here, and the archive has it now.
            """
            CREATE TABLE esper.cache_payload (
                digest bytea PRIMARY KEY CHECK (length(digest) = 32),
                payload bytea CHECK (length(payload) = size),
                size integer NOT NULL CHECK (size BETWEEN 0 AND \(PayloadTable.maximumBytes)),
                archived boolean NOT NULL DEFAULT false CHECK (archived OR payload IS NOT NULL),
                stored_at timestamptz NOT NULL DEFAULT now(),
                used_at timestamptz NOT NULL DEFAULT now())
            """,
            // Compiled code hardly shrinks, and what is not compressed is read without being unpacked.
            "ALTER TABLE esper.cache_payload ALTER payload SET STORAGE EXTERNAL",
            "CREATE INDEX cache_payload_used ON esper.cache_payload (used_at, digest) WHERE payload IS NOT NULL",
        ])
}

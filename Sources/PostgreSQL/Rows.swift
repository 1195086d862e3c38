/// What a statement returned, held in memory: bound a query with `LIMIT`.
public struct Rows: Sendable, Hashable {
    public struct Column: Sendable, Hashable {
        public var name: String
        public var typeID: UInt32
    }

    public let columns: [Column]
    /// Row by row, in PostgreSQL's binary notation; nil is null.
    let cells: [[UInt8]?]
    /// Rows returned.
    public let count: Int
    /// Rows inserted, updated, deleted or selected.
    public let affected: Int

    init(columns: [Column], cells: [[UInt8]?], count: Int, affected: Int) {
        self.columns = columns
        self.cells = cells
        self.count = count
        self.affected = affected
    }

    public subscript(row: Int) -> Row {
        precondition(row >= 0 && row < count, "row \(row) of \(count)")
        return Row(columns: columns, cells: cells[row * columns.count..<(row + 1) * columns.count])
    }

    /// The rows in order.
    public var all: [Row] { (0..<count).map { self[$0] } }

    /// The only row; an error when there are none or several.
    public func only() throws(PostgreSQLError) -> Row {
        guard count == 1 else { throw PostgreSQLError(.unexpectedResult, "\(count) rows where one was expected") }
        return self[0]
    }
}

/// One row of a result. Reading a column that is absent, null or of another type is a typed error.
public struct Row: Sendable {
    let columns: [Rows.Column]
    let cells: ArraySlice<[UInt8]?>

    public func isNull(_ name: String) throws(PostgreSQLError) -> Bool { try cell(name).bytes == nil }

    /// `smallint`, `integer`, `bigint` or `oid`.
    public func int64(_ name: String) throws(PostgreSQLError) -> Int64 {
        let (type, bytes) = try value(name)
        switch (type, bytes.count) {
        case (SQLValue.TypeID.int2, 2): return Int64(Int16(truncatingIfNeeded: Self.bigEndian(bytes)))
        case (SQLValue.TypeID.int4, 4): return Int64(Int32(truncatingIfNeeded: Self.bigEndian(bytes)))
        case (SQLValue.TypeID.int8, 8): return Int64(bitPattern: Self.bigEndian(bytes))
        case (SQLValue.TypeID.oid, 4): return Int64(Self.bigEndian(bytes))
        default: throw mismatch(name, type, "an integer")
        }
    }

    public func bool(_ name: String) throws(PostgreSQLError) -> Bool {
        let (type, bytes) = try value(name)
        guard type == SQLValue.TypeID.bool, bytes.count == 1 else { throw mismatch(name, type, "a boolean") }
        return bytes[0] != 0
    }

    public func double(_ name: String) throws(PostgreSQLError) -> Double {
        let (type, bytes) = try value(name)
        guard type == SQLValue.TypeID.float8, bytes.count == 8 else { throw mismatch(name, type, "a double") }
        return Double(bitPattern: Self.bigEndian(bytes))
    }

    /// `text`, `varchar`, `name`, `json` or `jsonb`.
    public func text(_ name: String) throws(PostgreSQLError) -> String {
        let (type, bytes) = try value(name)
        let textual: Set<UInt32> = [SQLValue.TypeID.text, 1043, 19, 114, 1042, 705]
        let characters = type == SQLValue.TypeID.jsonb ? bytes.dropFirst() : bytes[...]
        guard textual.contains(type) || type == SQLValue.TypeID.jsonb,
            let text = String(validating: characters, as: UTF8.self)
        else { throw mismatch(name, type, "text") }
        return text
    }

    public func bytes(_ name: String) throws(PostgreSQLError) -> [UInt8] {
        let (type, bytes) = try value(name)
        guard type == SQLValue.TypeID.bytea else { throw mismatch(name, type, "bytes") }
        return bytes
    }

    /// A `timestamptz`, in microseconds since 1970.
    public func microsecondsSince1970(_ name: String) throws(PostgreSQLError) -> Int64 {
        let (type, bytes) = try value(name)
        guard type == SQLValue.TypeID.timestamptz, bytes.count == 8 else { throw mismatch(name, type, "a time") }
        return Int64(bitPattern: Self.bigEndian(bytes)) &+ SQLValue.epochSeconds * 1_000_000
    }

    private func cell(_ name: String) throws(PostgreSQLError) -> (type: UInt32, bytes: [UInt8]?) {
        guard let index = columns.firstIndex(where: { $0.name == name }) else {
            throw PostgreSQLError(.unexpectedResult, "no column \(name) in the result")
        }
        return (columns[index].typeID, cells[cells.startIndex + index])
    }

    private func value(_ name: String) throws(PostgreSQLError) -> (type: UInt32, bytes: [UInt8]) {
        let (type, bytes) = try cell(name)
        guard let bytes else { throw PostgreSQLError(.unexpectedResult, "column \(name) is null") }
        return (type, bytes)
    }

    private func mismatch(_ name: String, _ type: UInt32, _ wanted: String) -> PostgreSQLError {
        PostgreSQLError(.unexpectedResult, "column \(name) of type \(type) is not \(wanted)")
    }

    private static func bigEndian(_ bytes: [UInt8]) -> UInt64 {
        bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }
}

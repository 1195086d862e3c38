/// Columns for people: a header in capitals, cells padded to the widest, numbers to the right.
package struct Table {
    private let header: [String]
    private var rows: [[String]] = []

    package init(_ header: String...) { self.header = header.map { $0.uppercased() } }

    package mutating func add(_ cells: String...) {
        precondition(cells.count == header.count, "\(cells.count) cells under \(header.count) columns")
        rows.append(cells.map { $0.isEmpty ? "-" : $0 })
    }

    package var text: String {
        let columns = header.indices.map { column in
            (
                width: ([header] + rows).map { $0[column].count }.max() ?? 0,
                isNumeric: rows.contains { Double($0[column]) != nil }
                    && rows.allSatisfy { Double($0[column]) != nil || $0[column] == "-" }
            )
        }
        return ([header] + rows).map { cells in
            let line = zip(cells, columns).map { cell, column in
                let padding = String(repeating: " ", count: column.width - cell.count)
                return column.isNumeric ? padding + cell : cell + padding
            }.joined(separator: "  ")
            return String(line.reversed().drop { $0 == " " }.reversed())
        }.joined(separator: "\n")
    }
}

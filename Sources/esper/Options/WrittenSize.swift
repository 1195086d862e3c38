import ArgumentParser

/// A number of bytes as people write it: `4096`, `64KiB`, `256MiB`, `1.5GiB`.
package struct WrittenSize: Equatable, Sendable {
    package var bytes: UInt64

    package static func read(_ text: String) throws -> Self {
        let units: [(String, Double)] = [
            ("KiB", 1024), ("MiB", 1_048_576), ("GiB", 1_073_741_824), ("TiB", 1_099_511_627_776), ("B", 1),
        ]
        for (unit, factor) in units where text.hasSuffix(unit) {
            guard let number = Double(text.dropLast(unit.count)), number >= 0, number * factor < 1e18 else { break }
            return Self(bytes: UInt64(number * factor))
        }
        guard let bytes = UInt64(text) else {
            throw ValidationError("write a size such as 4096, 64KiB, 256MiB or 1.5GiB")
        }
        return Self(bytes: bytes)
    }

    /// For people.
    package static func text(_ bytes: UInt64) -> String {
        var value = Double(bytes)
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if value < 1024 { return unit == "B" ? "\(bytes) B" : "\((value * 10).rounded() / 10) \(unit)" }
            value /= 1024
        }
        return "\((value * 10).rounded() / 10) TiB"
    }
}

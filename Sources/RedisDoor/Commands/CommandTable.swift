/// All commands, by their names in small letters.
enum CommandTable {
    static let all: [CommandSpec] =
        connectionCommands + clientCommands + stringCommands + keyCommands + numberCommands + scanCommands
        + hashCommands
        + transactionCommands + serverCommands

    private static let byName: [[UInt8]: CommandSpec] = Dictionary(
        uniqueKeysWithValues: all.map { (Array($0.name.utf8), $0) })

    static func command(_ name: [UInt8]) -> CommandSpec? {
        if let spec = byName[name] { return spec }
        return byName[name.lowercasedASCII]
    }
}

extension [UInt8] {
    var lowercasedASCII: [UInt8] { map { (65...90).contains($0) ? $0 | 0x20 : $0 } }

    /// Whether it is this word, in whatever case.
    func isWord(_ word: StaticString) -> Bool {
        guard count == word.utf8CodeUnitCount else { return false }
        return word.withUTF8Buffer { letters in
            for index in indices {
                let byte = self[index]
                let letter = (97...122).contains(byte) ? byte & 0xDF : byte
                guard letter == letters[index] else { return false }
            }
            return true
        }
    }
}

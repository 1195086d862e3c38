import EsperTypes
import RaftCore
import TestSupport
import Testing

/// A decoder of bytes from outside, and something to begin with.
struct Subject: Sendable, CustomTestStringConvertible {
    /// What holds for bytes that are accepted.
    enum Rule: Sendable {
        /// The decoded value is written as exactly these bytes: there is one way to say anything.
        case canonical
        /// The decoded value may be written otherwise, and is then read as the same.
        case stable
        /// Only that nothing traps; what is decoded is not written again.
        case total
    }

    let name: String
    let rule: Rule
    let samples: [[UInt8]]
    /// The part of the usual number of rounds that is enough, for those that are slow.
    let share: Double
    /// Makes lengths and checksums right again, so that damage gets behind them.
    let repair: @Sendable ([UInt8], inout SeededGenerator) -> [UInt8]
    /// The decoded value, written again; nil when the bytes are refused.
    let again: @Sendable ([UInt8]) -> [UInt8]?

    init(
        _ name: String, _ rule: Rule, samples: [[UInt8]], share: Double = 1,
        repair: @escaping @Sendable ([UInt8], inout SeededGenerator) -> [UInt8] = { bytes, _ in bytes },
        again: @escaping @Sendable ([UInt8]) -> [UInt8]?
    ) {
        self.name = name
        self.rule = rule
        self.samples = samples
        self.share = share
        self.repair = repair
        self.again = again
    }

    /// A decoder of text; bytes that are none are refused before it.
    init(_ name: String, _ rule: Rule, texts: [String], again: @escaping @Sendable (String) -> String?) {
        self.init(name, rule, samples: texts.map { Array($0.utf8) }) { bytes in
            String(validating: bytes, as: UTF8.self).flatMap(again).map { Array($0.utf8) }
        }
    }

    var testDescription: String { name }

    /// What the seed makes of a sample.
    func bytes(seed: UInt64) -> [UInt8] {
        var generator = SeededGenerator(seed: seed)
        let mutator = ByteMutator(others: samples, maximumStretch: Int.random(in: 1...64, using: &generator))
        var bytes = samples.randomElement(using: &generator) ?? []
        for _ in 0..<Int.random(in: 1...4, using: &generator) { mutator.mutate(&bytes, using: &generator) }
        return repair(bytes, &generator)
    }

    /// - Returns: whether the bytes were accepted; throws what breaks the rule.
    func check(_ bytes: [UInt8]) throws(Violation) -> Bool {
        guard let written = again(bytes) else { return false }
        switch rule {
        case .canonical: if written != bytes { throw Violation(read: bytes, written: written) }
        case .stable: if again(written) != written { throw Violation(read: bytes, written: written) }
        case .total: break
        }
        return true
    }

    struct Violation: Error { var read, written: [UInt8] }
}

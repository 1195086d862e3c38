import Coordination
import EsperTypes
import Testing

@Suite struct TreeTests {
    /// Keys with long common prefixes, prefixes of each other and equal heads.
    private func randomKey(_ random: inout Seeded) -> [UInt8] {
        let stems = ["", "a", "bench/key-", "bench/key-0000000000000", "zebra/with/a/long/common/prefix/"]
        let stem = stems.randomElement(using: &random)!.bytes
        let tail = (0..<Int.random(in: 0...3, using: &random)).map { _ in UInt8.random(in: 0...3, using: &random) }
        return stem + tail + String(Int.random(in: 0..<400, using: &random)).bytes
    }

    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func `a tree holds what a dictionary holds, in order, through random changes`(seed: UInt64) {
        var random = Seeded(seed)
        var tree = Tree<[UInt8], Int>()
        var model: [[UInt8]: Int] = [:]
        // Grows first, shrinks later.
        for step in 0..<6000 {
            let key = randomKey(&random)
            if Int.random(in: 0..<10, using: &random) < (step < 3500 ? 7 : 2) {
                #expect(tree.set(key, step) == model.updateValue(step, forKey: key))
            } else {
                #expect(tree.remove(key) == model.removeValue(forKey: key))
            }
            if step % 500 == 0 { tree.checkInvariants() }
            let probe = randomKey(&random)
            #expect(tree.value(for: probe) == model[probe])
        }
        tree.checkInvariants()
        let sorted = model.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        #expect(tree.count == sorted.count)
        #expect(tree.cursor().map(\.value) == sorted.map(\.value))
        for _ in 0..<200 {
            let probe = randomKey(&random)
            let rank = sorted.firstIndex { !$0.key.lexicographicallyPrecedes(probe) } ?? sorted.count
            #expect(tree.rank(of: probe) == rank)
            #expect(tree.cursor(from: probe).map(\.value) == sorted[rank...].map(\.value))
            let floor = sorted.last { !probe.lexicographicallyPrecedes($0.key) }
            #expect(tree.floor(probe)?.value == floor?.value)
        }
        for (key, value) in sorted.shuffled(using: &random) { #expect(tree.remove(key) == value) }
        #expect(tree.isEmpty)
    }

    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func `copies stay as they are while the original changes`(seed: UInt64) {
        var random = Seeded(seed)
        var tree = Tree<UInt64, Int>()
        var copies: [(tree: Tree<UInt64, Int>, contents: [Int])] = []
        for step in 0..<5000 {
            let key = UInt64.random(in: 0..<2000, using: &random)
            switch Int.random(in: 0..<5, using: &random) {
            case 0, 1: tree.set(key, step)
            case 2: tree.update(key) { $0 = -step }
            default: tree.remove(key)
            }
            if step % 250 == 0 { copies.append((tree, tree.cursor().map(\.value))) }
        }
        for copy in copies {
            copy.tree.checkInvariants()
            #expect(copy.tree.cursor().map(\.value) == copy.contents)
        }
    }

    @Test func `keys that arrive in order leave full leaves behind`() {
        var tree = Tree<UInt64, Int>()
        for key in 0..<100_000 { tree.set(UInt64(key), key) }
        tree.checkInvariants()
        #expect(tree.cursor().map(\.value) == Array(0..<100_000))
        #expect(tree.last?.value == 99_999)
        for key in 0..<99_990 { tree.remove(UInt64(key)) }
        tree.checkInvariants()
        #expect(tree.first?.value == 99_990)
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func `numbered keys order by bytes, then by number`(seed: UInt64) {
        var random = Seeded(seed)
        var tree = Tree<NumberedKey, Int>()
        var model: [(bytes: [UInt8], number: UInt64)] = []
        for number in 0..<3000 {
            let bytes = ["hot", "hot/a", "h", ""].randomElement(using: &random)!.bytes
            tree.set(NumberedKey(bytes, UInt64(number)), number)
            model.append((bytes, UInt64(number)))
        }
        tree.checkInvariants()
        model.sort {
            $0.bytes == $1.bytes ? $0.number < $1.number : $0.bytes.lexicographicallyPrecedes($1.bytes)
        }
        #expect(tree.cursor().map(\.value) == model.map { Int($0.number) })
    }
}

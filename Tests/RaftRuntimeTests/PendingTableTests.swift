import RaftRuntime
import Testing

@Suite struct PendingTableTests {
    @Test func `elements are found by their number until they are taken, in order`() {
        var table = PendingTable<String>()
        let numbers = ["a", "b", "c"].map { table.add($0) }
        #expect(numbers == [1, 2, 3])
        #expect(table.remove(2) == "b")
        #expect(table.remove(2) == nil)
        table[3] = "C"
        table[2] = "nothing there"
        table[9] = "nor there"
        var seen: [String] = []
        table.forEach { seen.append("\($0)\($1)") }
        #expect(seen == ["1a", "3C"])
        #expect(table.count == 2)
        table[1] = nil
        #expect(table.count == 1)
        #expect(table.add("d") == 4)
    }

    @Test func `one that stays for ever costs one place, not those of all after it`() {
        var table = PendingTable<Int>()
        let stuck = table.add(-1)
        for value in 0..<100_000 {
            let number = table.add(value)
            #expect(table.remove(number) == value)
        }
        #expect(table.places < 3000)
        #expect(table[stuck] == -1)
        table[stuck] = -2
        #expect(table.count == 1)
        #expect(table.remove(stuck) == -2)
        #expect(table.count == 0)
        #expect(table[stuck] == nil)
    }
}

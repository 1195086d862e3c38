import RedisDoor
import Testing

@Suite struct BoundedNamesTests {
    private func name(_ number: UInt8) -> [UInt8] { [number] }

    @Test func `names that go and come again take no more room`() {
        var names = BoundedNames<Int>(limit: 4)
        for _ in 0..<100 {
            for number in UInt8(0)..<4 {
                _ = names.remove(name(number))
                #expect(names.update(name(number), from: 0) { $0 += 1 } == nil)
                #expect(names.placeCount <= 8)
            }
        }
        #expect(names.count == 4)
    }

    @Test func `the one that was added first goes, with what belonged to it`() throws {
        var names = BoundedNames<Int>(limit: 2)
        for number in UInt8(0)..<2 { #expect(names.update(name(number), from: 10) { $0 += Int(number) } == nil) }
        // Changed, not added: it is as old as before.
        #expect(names.update(name(0), from: 0) { $0 += 5 } == nil)
        let first = try #require(names.update(name(2), from: 0) { _ in })
        #expect(first.name == name(0))
        #expect(first.value == 15)
        // Added again: younger than the other.
        #expect(names.remove(name(1)) == 11)
        #expect(names.update(name(1), from: 0) { _ in } == nil)
        #expect(try #require(names.update(name(3), from: 0) { _ in }).name == name(2))
        names.removeAll()
        #expect(names.count == 0)
        #expect(names.placeCount == 0)
    }
}

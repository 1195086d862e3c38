import CacheCore
import EsperTypes
import KernelCache
import Testing

struct LeaseBookTests {
    private func at(_ milliseconds: UInt64) -> Instant {
        Instant(nanoseconds: 1_000_000_000 + milliseconds * 1_000_000)
    }

    private func map(_ count: Int) -> ShardMap {
        var map: ShardMap?
        let hosts = (1...count).map { ShardMap.Host(id: NodeID(UInt64($0))) }
        let placements = PlacementPlanner(copies: 2).placements(hosts: hosts)!
        _ = ShardMap.apply(.found(hosts: hosts, placements: placements, copies: 2), to: &map)
        return map!
    }

    @Test func `a lease ends with the length from the last confirmation, whenever it was asked for`() throws {
        var book = LeaseBook(length: .seconds(2))
        let unconfirmed = book.heard(NodeID(1), at: at(0))
        #expect(unconfirmed == nil)
        book.confirmed(map(3), asked: at(100), answered: at(150))
        let (early, late) = (book.heard(NodeID(1), at: at(200)), book.heard(NodeID(1), at: at(1500)))
        #expect(early?.base == MapEpoch(1))
        let (first, second) = (try #require(early?.length), try #require(late?.length))
        #expect(at(200) + first < at(2100))
        #expect(at(1500) + second < at(2100))
        let over = book.heard(NodeID(1), at: at(2000))
        #expect(over == nil)
    }

    @Test func `a new leader calls nobody dead before the leases of the old one have ended`() {
        var book = LeaseBook(length: .seconds(2))
        #expect(book.isAlive(NodeID(2), at: at(10_000)) == nil)
        book.confirmed(map(3), asked: at(10_000), answered: at(10_100))
        #expect(book.isAlive(NodeID(2), at: at(12_000)) == nil)
        #expect(book.isAlive(NodeID(2), at: at(12_300)) == false)
        _ = book.heard(NodeID(2), at: at(12_300))
        #expect(book.isAlive(NodeID(2), at: at(12_300)) == true)
    }

    @Test func `a node that is silent is dead once its lease has ended, and no sooner`() {
        var book = LeaseBook(length: .seconds(2))
        book.confirmed(map(3), asked: at(0), answered: at(10))
        book.confirmed(map(3), asked: at(9000), answered: at(9010))
        _ = book.heard(NodeID(2), at: at(9000))
        #expect(book.isAlive(NodeID(2), at: at(10_900)) == true)
        #expect(book.isAlive(NodeID(2), at: at(11_001)) == false)
    }

    @Test func `a node that is being declared dead gets no lease until the map has decided`() {
        var (book, map) = (LeaseBook(length: .seconds(2)), Optional(map(3)))
        book.confirmed(map, asked: at(0), answered: at(10))
        book.bury(NodeID(3), seen: map!.host(NodeID(3))!.epoch)
        let first = book.heard(NodeID(3), at: at(20))
        #expect(first == nil)
        #expect(book.isAlive(NodeID(3), at: at(20)) == false)
        book.confirmed(map, asked: at(30), answered: at(40))
        let second = book.heard(NodeID(3), at: at(50))
        #expect(second == nil)
        _ = ShardMap.apply(.down(NodeID(3), seen: map!.host(NodeID(3))!.epoch), to: &map)
        book.confirmed(map, asked: at(60), answered: at(70))
        let third = book.heard(NodeID(3), at: at(80))
        #expect(third != nil)
        #expect(book.isAlive(NodeID(3), at: at(80)) == true)
    }
}

import EsperClient
import Foundation
import Testing
import esper

struct ShardPictureTests {
    private let places = ShardPlaces(
        epoch: 7, copies: 2,
        hosts: [
            .init(id: 1, name: "a<b", owned: 1, held: 2), .init(id: 2, name: "n2", isDown: true, owned: 1, held: 2),
            .init(id: 3, name: "n3", owned: 0, held: 0),
        ],
        shards: [
            .init(members: [1, 2], epoch: 1, step: "stable", target: []),
            .init(members: [2, 1], epoch: 3, step: "copy", target: [3, 1]),
        ])

    @Test func `a picture has a square for each shard, its holders' colours, and a frame where it moves`() throws {
        let svg = ShardPicture(places).svg
        #expect(svg.components(separatedBy: "<title>").count == 3)
        #expect(svg.contains("<title>0: a&lt;b n2</title>"))
        #expect(svg.contains("<title>1: n2 a&lt;b, copy to n3 a&lt;b</title>"))
        #expect(svg.components(separatedBy: "stroke=\"black\"").count == 2)
        #expect(svg.contains("n2: owns 1, holds 2, down"))
        for tag in ["svg", "g", "text", "title"] {
            #expect(svg.components(separatedBy: "<\(tag)").count == svg.components(separatedBy: "</\(tag)>").count)
        }
    }

    @Test func `the table tells who holds how much and how many shards move`() {
        #expect(places.text.contains("n2        1     2     100  -     down"))
        #expect(places.text.hasSuffix("epoch 7, 2 shards, 2 copies, 1 moving"))
    }

    @Test func `a bar is as full as what is done`() {
        #expect(RebalanceProgress.bar(done: 0, of: 4) == "[" + String(repeating: ".", count: 32) + "] 0/4 shards")
        #expect(RebalanceProgress.bar(done: 2, of: 4).filter { $0 == "#" }.count == 16)
        #expect(RebalanceProgress.bar(done: 0, of: 0).filter { $0 == "#" }.count == 32)
    }
}

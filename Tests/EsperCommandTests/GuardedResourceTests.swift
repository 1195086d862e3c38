import EsperTypes
import Testing
import esper

struct GuardedResourceTests {
    @Test func `tokens that grow, one holder at a time, are fine`() {
        let resource = GuardedResource()
        for token in [3, 7, 9] as [UInt64] {
            resource.enter("a", token: FencingToken(token))
            resource.leave("a", token: FencingToken(token))
        }
        resource.enter("b", token: FencingToken(1))
        #expect(resource.violations == 0)
    }

    @Test func `a token that goes back and two holders at once are violations`() {
        let resource = GuardedResource()
        resource.enter("a", token: FencingToken(3))
        resource.enter("a", token: FencingToken(4))
        #expect(resource.violations == 1)
        resource.leave("a", token: FencingToken(4))
        resource.enter("a", token: FencingToken(2))
        #expect(resource.violations == 2)
    }
}

import CacheCore
import Testing

struct ShadowCachesTests {
    @Test func `shadows tell what other policies would have done, from one key of 64`() {
        // So flat that no key weighs much in a sample: which ones are in it is chance.
        let keys = ZipfKeys(count: 200_000, exponent: 0.6)
        var generator = SplitMix64(seed: 2)
        var shadows = ShadowCaches(limit: 20_000 * 100)
        var full = ShadowCaches.policies.map { CacheModel(policy: $0, capacity: 20_000 * 100) }
        for _ in 0..<400_000 {
            let key = keys.next(&generator)
            for position in full.indices { full[position].request(CacheRequest(key: key, bytes: 100)) }
            var mixer = SplitMix64(seed: key)
            guard mixer.next() % ShadowCaches.samplingRatio == 0 else { continue }
            shadows.apply([
                ShadowSample(key: key, kind: .missed),
                ShadowSample(key: key, kind: .put, bytes: 100, costMilliseconds: 3),
            ])
        }
        for (position, shadow) in shadows.counts.enumerated() {
            let expected = full[position].counts.hitRatio
            #expect(
                abs(shadow.counts.hitRatio - expected) < 0.04,
                "\(shadow.policy): \(shadow.counts.hitRatio), \(expected)")
            #expect(abs(shadow.counts.byteHitRatio - shadow.counts.hitRatio) < 0.01)
            #expect(shadow.counts.requests > 3000)
        }
    }
}

struct LimitGovernorTests {
    private typealias Reading = LimitGovernor.Reading

    @Test func `without a control group the limit is the configured one`() {
        var governor = LimitGovernor(configured: 1000)
        #expect(governor.update(Reading(), accounted: 900) == 1000)
    }

    @Test func `the limit leaves a tenth of the group free beside what others use`() {
        var governor = LimitGovernor(configured: 1000)
        let limit = governor.update(Reading(maximumBytes: 1500, currentBytes: 1400), accounted: 800)
        #expect(limit == 750)
    }

    @Test func `stalls shrink it down to an eighth, and calm lets it grow again`() {
        var governor = LimitGovernor(configured: 1000)
        var last: UInt64 = 1000
        for _ in 0..<40 {
            let limit = governor.update(Reading(stalledPercent: 40), accounted: last)
            #expect(limit <= last)
            last = limit
        }
        #expect(last == 125)
        #expect(governor.update(Reading(stalledPercent: 5), accounted: 100) == 125)
        for _ in 0..<60 { last = governor.update(Reading(stalledPercent: 0), accounted: last) }
        #expect(last == 1000)
    }
}

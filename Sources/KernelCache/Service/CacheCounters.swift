import CacheCore
import Metrics

/// What the service counts: for its statistics, and as metrics.
final class CacheCounters: Sendable {
    struct Reads: Sendable {
        let count: Count
        let bytes: Count
        let cost: Count

        init(_ tier: CacheTier) {
            let dimensions = [("tier", tier.name)]
            count = Count("esper_cache_hits", dimensions)
            bytes = Count("esper_cache_hit_bytes", dimensions)
            cost = Count("esper_cache_hit_cost_milliseconds", dimensions)
        }

        func add(_ reads: UInt64 = 1, bytes size: UInt64, cost milliseconds: UInt64) {
            count.add(reads)
            bytes.add(size)
            cost.add(milliseconds)
        }
    }

    private let reads = CacheTier.allCases.map(Reads.init)
    subscript(tier: CacheTier) -> Reads { reads[Int(tier.rawValue)] }

    /// Names that were asked for, by everybody who asked, those who waited for another's load included.
    let asked = Count("esper_cache_reads")
    let localHits = Count()
    let absent = Count("esper_cache_absent")
    let lost = Count("esper_cache_lost")
    let unreached = Count("esper_cache_unreached")
    let audited = Count("esper_cache_audited")
    /// By how many versions a node was off; 0: another content under the right one.
    let auditViolations = Recorder(label: "esper_cache_audit_violations", dimensions: [("place", "node")])
    private let wrongRows = CacheService.WrongRow.Fault.allCases.map {
        Count("esper_cache_catalog_rows_wrong", [("fault", $0.rawValue)])
    }
    /// Rows of the catalog that told something else of a name than what is bound.
    func wrongRows(_ fault: CacheService.WrongRow.Fault) -> Count {
        guard let number = CacheService.WrongRow.Fault.allCases.firstIndex(of: fault) else {
            preconditionFailure("no counter for \(fault)")
        }
        return wrongRows[number]
    }
    let repairedRows = Count("esper_cache_catalog_rows_repaired")
    /// By how many versions a row was off.
    let rowViolations = Recorder(label: "esper_cache_audit_violations", dimensions: [("place", "catalog")])
    let coalesced = Count("esper_cache_coalesced")
    let leaseRefusals = Count("esper_cache_lease_refusals")
    let stores = Count("esper_cache_stores")
    /// What had to be made since nobody found it: what hits are compared with, by bytes and by cost.
    let storedBytes = Count("esper_cache_stored_bytes")
    let storedCost = Count("esper_cache_stored_cost_milliseconds")
    let storesLost = Count("esper_cache_stores_differing")
    let evictions = Count("esper_cache_name_evictions")
    let closureFailures = Count("esper_cache_closure_failures")
    let quarantined = Count("esper_cache_quarantined")
    private let corruptTiers = CacheTier.allCases.map { Count("esper_cache_corrupt", [("tier", $0.name)]) }
    /// Found by scrubbing a tier that all nodes share.
    func corrupt(_ tier: CacheTier) -> Count { corruptTiers[Int(tier.rawValue)] }

    let staleEpoch = Count("esper_cache_stale_epoch_refusals")
    let garbageBlobs = Count("esper_cache_garbage_blobs")
    let garbageDelays = Count("esper_cache_garbage_delays")
    let garbageBytes = Count("esper_cache_garbage_bytes")
    let warmedBytes = Count("esper_cache_warmed_bytes")
    let warmedHits = Count("esper_cache_warmed_hits")
    let syncs = Count("esper_cache_syncs")
    let syncDifferences = Count("esper_cache_sync_differences")
    let syncedBlobs = Count("esper_cache_sync_repaired_blobs")
    let syncedBytes = Count("esper_cache_sync_repaired_bytes")
    let tokensGranted = Count("esper_cache_tokens_granted")
    let tokensExpired = Count("esper_cache_tokens_expired")
    /// Given out by this node and neither used nor run out.
    let tokens = Gauge(label: "esper_cache_tokens")
    let retrieveTime = Timer(label: "esper_cache_retrieve_duration")
    let storeTime = Timer(label: "esper_cache_store_duration")
    let memoryBytes = Gauge(label: "esper_cache_memory_bytes")
    let diskBytes = Gauge(label: "esper_cache_disk_bytes")
    /// Loads of single blobs that are under way, and those who wait for them.
    let loads = Gauge(label: "esper_cache_loads")
    let waiters = Gauge(label: "esper_cache_waiters")
    let loadsRefused = Count("esper_cache_loads_refused")
    /// How many one load served.
    let loadWidth = Recorder(label: "esper_cache_load_width")
}

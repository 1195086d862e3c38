import RaftRuntime

/// Slow work that goes on for as long as the service does, each part in its own time.
extension CacheService {
    func runUpkeep() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.keepScrubbing() }
            group.addTask { await self.keepAuditing() }
            group.addTask { await self.keepSyncing() }
            group.addTask {
                await self.every(self.options.garbageInterval) {
                    await self.collectGarbage()
                    await self.collectOuterGarbage()
                }
            }
        }
    }

    /// Until the task is cancelled; the first time after one interval.
    private func every(_ interval: Duration, _ body: () async -> Void) async {
        while true {
            // Cancelled: the loop ends.
            try? await Task.sleep(for: interval)
            if Task.isCancelled { return }
            await body()
        }
    }
}

import ArgumentParser

struct CacheCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cache", abstract: "Kernels and other artifacts: made once, found by every host.",
        subcommands: [
            CachePut.self, CacheGet.self, CacheStatCommand.self, CacheEvict.self, CacheWarm.self, CacheSync.self,
            CacheList.self, CacheMap.self, CacheRebalance.self,
        ])
}

// RaftCoreTests

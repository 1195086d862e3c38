// RaftRuntimeTests

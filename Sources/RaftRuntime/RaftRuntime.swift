// RaftRuntime

// RaftStorageTests

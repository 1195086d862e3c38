// EsperTypesTests

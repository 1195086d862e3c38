// EsperClientTests

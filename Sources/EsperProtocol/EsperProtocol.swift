// EsperProtocol

// EsperClient

// EsperNode

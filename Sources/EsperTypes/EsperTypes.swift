// EsperTypes

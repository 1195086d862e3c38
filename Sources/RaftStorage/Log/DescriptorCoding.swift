internal import EsperTypes
internal import RaftCore

/// RaftCore's values in our notation. Kept apart from the types themselves: the disk format must not move with them.
extension ByteWriter {
    mutating func write(_ state: HardState) {
        write(state.term)
        write(optional: state.vote) { $0.write($1) }
    }

    mutating func write(_ id: EntryID) {
        write(id.term)
        write(id.index)
    }

    mutating func write(_ descriptor: SnapshotDescriptor) {
        write(descriptor.id)
        write(descriptor.configuration.encoded())
        write(descriptor.configurationIndex)
        write(descriptor.sizeBytes)
        write(descriptor.checksum)
        write(descriptor.stateHash)
    }
}

extension ByteReader {
    mutating func readHardState() throws(DecodingError) -> HardState {
        let term = try readReachable(Term.self)
        let vote = try readOptional { (reader: inout ByteReader) throws(DecodingError) in
            try reader.read(NodeID.self)
        }
        return HardState(term: term, vote: vote)
    }

    /// A number of bytes, or of a batch or segment: bounded as a counter is.
    mutating func readExtent() throws(DecodingError) -> UInt64 { try readReachable(LogIndex.self).rawValue }

    mutating func readEntryID() throws(DecodingError) -> EntryID {
        let term = try readReachable(Term.self)
        return EntryID(term: term, index: try readReachable())
    }

    mutating func readConfiguration() throws(DecodingError) -> Configuration {
        try Configuration(decoding: try readBytes(atMost: 4 << 10))
    }

    mutating func readDescriptor() throws(DecodingError) -> SnapshotDescriptor {
        let id = try readEntryID()
        let configuration = try readConfiguration()
        let configurationIndex = try readReachable(LogIndex.self)
        let sizeBytes = try readExtent()
        let checksum = try read(UInt32.self)
        guard id.index > .zero, configuration.isValid, configurationIndex <= id.index else {
            throw .unknownTag(configurationIndex.rawValue)
        }
        return SnapshotDescriptor(
            id: id, configuration: configuration, configurationIndex: configurationIndex, sizeBytes: sizeBytes,
            checksum: checksum, stateHash: try read(UInt64.self))
    }
}

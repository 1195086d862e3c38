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
        let term = try read(Term.self)
        let vote = try readOptional { (reader: inout ByteReader) throws(DecodingError) in
            try reader.read(NodeID.self)
        }
        return HardState(term: term, vote: vote)
    }

    mutating func readEntryID() throws(DecodingError) -> EntryID {
        let term = try read(Term.self)
        return EntryID(term: term, index: try read(LogIndex.self))
    }

    mutating func readConfiguration() throws(DecodingError) -> Configuration {
        try Configuration(decoding: try readBytes(atMost: 4 << 10))
    }

    mutating func readDescriptor() throws(DecodingError) -> SnapshotDescriptor {
        let id = try readEntryID()
        let configuration = try readConfiguration()
        let configurationIndex = try read(LogIndex.self)
        let sizeBytes = try read(UInt64.self)
        let checksum = try read(UInt32.self)
        return SnapshotDescriptor(
            id: id, configuration: configuration, configurationIndex: configurationIndex, sizeBytes: sizeBytes,
            checksum: checksum, stateHash: try read(UInt64.self))
    }
}

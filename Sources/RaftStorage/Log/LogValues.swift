package import EsperTypes
internal import RaftCore

/// The values inside records, headers and footers, without the checksums around them; for the tests of their decoders.
package enum LogValues {
    /// A hard state, an entry's name, a configuration and a snapshot's descriptor after one another, read and written again.
    package static func again(_ bytes: [UInt8]) throws(DecodingError) -> [UInt8] {
        var reader = ByteReader(bytes)
        var writer = ByteWriter()
        writer.write(try reader.readHardState())
        writer.write(try reader.readEntryID())
        writer.write(try reader.readConfiguration().encoded())
        writer.write(try reader.readDescriptor())
        try reader.finish()
        return writer.bytes
    }

    package static var samples: [[UInt8]] {
        let descriptor = SnapshotDescriptor(
            id: EntryID(term: Term(6), index: LogIndex(100)),
            configuration: Configuration(voters: [NodeID(1), NodeID(2)], learners: [NodeID(4)]),
            configurationIndex: LogIndex(2), sizeBytes: 1 << 33, checksum: 0xdead_beef, stateHash: .max)
        return [HardState(term: Term(3)), HardState(term: Term.unreachable.previous, vote: NodeID(2))].map { state in
            var writer = ByteWriter()
            writer.write(state)
            writer.write(descriptor.id)
            writer.write(descriptor.configuration.encoded())
            writer.write(descriptor)
            return writer.bytes
        }
    }
}

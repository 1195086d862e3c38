internal import FoundationEssentials

/// What the .proto files of etcd's packages say, for servers that tell it their clients.
public enum EtcdDescriptors {
    /// Every file of `proto` and what it imports: a `google.protobuf.FileDescriptorSet`.
    public static var fileDescriptorSet: [UInt8] {
        guard let set = Data(base64Encoded: base64) else { preconditionFailure("what `generate` wrote is no base64") }
        return [UInt8](set)
    }
}

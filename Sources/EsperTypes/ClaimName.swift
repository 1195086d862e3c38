/// The keys under which locks and elections keep their queues: `_lock/NAME/SESSION` and `_election/NAME/SESSION`.
///
/// In NAME, `/` and `%` are written `%2F` and `%25`, so that no name is the beginning of another's keys; SESSION is sixteen
/// hexadecimal digits. The create revision of such a key is its place in the queue and its fencing token.
public enum ClaimName {
    public static let lockPrefix = Array("_lock/".utf8)
    public static let electionPrefix = Array("_election/".utf8)

    /// The key by which the session holds the lock or waits for it.
    public static func key(lock name: String, session: SessionID) -> [UInt8] {
        lockPrefix + escaped(name) + [0x2f] + session.description.utf8
    }

    /// The key by which the session leads the election or stands for it.
    public static func key(election name: String, session: SessionID) -> [UInt8] {
        electionPrefix + escaped(name) + [0x2f] + session.description.utf8
    }

    public static func escaped(_ name: String) -> [UInt8] {
        var bytes: [UInt8] = []
        for byte in name.utf8 {
            switch byte {
            case 0x2f: bytes.append(contentsOf: "%2F".utf8)
            case 0x25: bytes.append(contentsOf: "%25".utf8)
            default: bytes.append(byte)
            }
        }
        return bytes
    }
}

internal import EsperTypes

/// The documents that stores answer with. Source: Amazon S3 API reference.
package enum S3Answers {
    package struct Page: Equatable {
        package var objects: [ListedObject]
        /// Of the next page; nil: this is the last.
        package var next: String?

        package init(objects: [ListedObject], next: String?) {
            self.objects = objects
            self.next = next
        }
    }

    package struct Upload: Equatable {
        package var key: String
        package var id: String
        /// `2026-01-31T23:59:59.000Z`
        package var initiated: String

        package init(key: String, id: String, initiated: String) {
            self.key = key
            self.id = id
            self.initiated = initiated
        }
    }

    /// Of `ListObjectsV2` with `encoding-type=url`. Keys that are none of ours are left out.
    ///
    /// - Parameter prefix: to be taken off the keys.
    package static func page(_ body: [UInt8], below prefix: String) throws(ObjectStoreError) -> Page {
        let root = try element(body, "ListBucketResult")
        let isEncoded = root.text(of: "EncodingType") == "url"
        var objects: [ListedObject] = []
        for entry in root.all("Contents") {
            guard let written = entry.text(of: "Key"), let size = entry.text(of: "Size").flatMap({ UInt64($0) }) else {
                throw nonsense("an entry of the list has no key or no size")
            }
            guard let text = isEncoded ? PercentEncoding.decoded(written) : written, text.hasPrefix(prefix),
                let key = ObjectKey(String(text.dropFirst(prefix.count)))
            else { continue }
            let created = entry.text(of: "LastModified").flatMap { SignatureV4.Date.nanoseconds(of: $0) }
            objects.append(ListedObject(key: key, size: size, created: created))
        }
        guard root.text(of: "IsTruncated") == "true" else { return Page(objects: objects, next: nil) }
        guard let next = root.text(of: "NextContinuationToken"), !next.isEmpty else {
            throw nonsense("a list goes on and does not say where")
        }
        return Page(objects: objects, next: next)
    }

    /// Of `CreateMultipartUpload`: the upload's id.
    package static func upload(_ body: [UInt8]) throws(ObjectStoreError) -> String {
        guard let id = try element(body, "InitiateMultipartUploadResult").text(of: "UploadId"), !id.isEmpty else {
            throw nonsense("an upload has no id")
        }
        return id
    }

    /// Of `ListMultipartUploads`: its first page.
    package static func uploads(_ body: [UInt8]) throws(ObjectStoreError) -> [Upload] {
        var uploads: [Upload] = []
        for entry in try element(body, "ListMultipartUploadsResult").all("Upload") {
            guard let key = entry.text(of: "Key"), let id = entry.text(of: "UploadId"),
                let initiated = entry.text(of: "Initiated")
            else { throw nonsense("an upload has no key, id or time") }
            uploads.append(Upload(key: key, id: id, initiated: initiated))
        }
        return uploads
    }

    /// For `CompleteMultipartUpload`.
    package static func completion(_ tags: [String]) -> [UInt8] {
        let parts = tags.enumerated().map { number, tag in
            "<Part><PartNumber>\(number + 1)</PartNumber><ETag>\(escaped(tag))</ETag></Part>"
        }
        return Array("<CompleteMultipartUpload>\(parts.joined())</CompleteMultipartUpload>".utf8)
    }

    /// Code and message of an `Error`; nil when the body is none.
    package static func error(_ body: [UInt8]) -> (code: String, message: String, region: String?)? {
        guard let root = try? XMLElement(document: body), root.name == "Error", let code = root.text(of: "Code") else {
            return nil
        }
        return (code: code, message: root.text(of: "Message") ?? "", region: root.text(of: "Region"))
    }

    private static func element(_ body: [UInt8], _ name: String) throws(ObjectStoreError) -> XMLElement {
        let root: XMLElement
        do throws(XMLElement.Failure) {
            root = try XMLElement(document: body)
        } catch {
            throw nonsense("the answer is no XML: \(error.message)")
        }
        guard root.name == name else { throw nonsense("the answer is '\(root.name.prefix(40))', not '\(name)'") }
        return root
    }

    private static func nonsense(_ message: String) -> ObjectStoreError { ObjectStoreError(.nonsense, message) }

    private static func escaped(_ text: String) -> String {
        text.reduce(into: "") { escaped, character in
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            default: escaped.append(character)
            }
        }
    }
}

internal import EsperTypes
package import NIOHTTP1

/// A request to a bucket or to one of its objects, before it is signed.
package struct S3Request: Sendable, CustomStringConvertible {
    package var method: HTTPMethod
    /// With the prefix of the settings; nil: the bucket itself.
    package var key: ObjectKey?
    package var query: [(name: String, value: String)]
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]
    /// Answers that say something about an object are short; a page of a listing has up to 1000 keys, of 512 bytes each and
    /// as much around them.
    package var maximumAnswerBytes = 4 << 20

    package init(
        method: HTTPMethod, key: ObjectKey? = nil, query: [(name: String, value: String)] = [],
        headers: [(name: String, value: String)] = [], body: [UInt8] = []
    ) {
        self.method = method
        self.key = key
        self.query = query
        self.headers = headers
        self.body = body
    }

    /// For messages: nothing that is secret.
    package var description: String { "\(method.rawValue) \(key?.description ?? "the bucket")" }
}

extension S3Settings {
    /// The host that is asked.
    package var host: String { isPathStyle ? endpoint.address.host : "\(bucket).\(endpoint.address.host)" }

    /// The request as it goes over the wire, signed.
    package func signed(_ request: S3Request, date: SignatureV4.Date) -> HTTPRequestHead {
        var path = isPathStyle ? "/\(bucket)" : ""
        if let key = request.key { path += "/\(PercentEncoding.text(key.description, isPath: true))" }
        if path.isEmpty { path = "/" }
        let payloadHash = SignatureV4.hash(request.body)
        var headers = request.headers
        headers.append((name: "host", value: hostHeader))
        headers.append((name: "x-amz-date", value: date.stamp))
        headers.append((name: "x-amz-content-sha256", value: payloadHash))
        if let token = credentials.sessionToken { headers.append((name: "x-amz-security-token", value: token)) }
        let authorization = SignatureV4(credentials: credentials, region: region).authorization(
            method: request.method.rawValue, path: path, query: request.query, headers: headers,
            payloadHash: payloadHash, date: date)
        // Not signed: what only concerns the connection.
        headers.append((name: "content-length", value: "\(request.body.count)"))
        headers.append((name: "authorization", value: authorization))
        let query = PercentEncoding.query(request.query)
        return HTTPRequestHead(
            version: .http1_1, method: request.method, uri: query.isEmpty ? path : "\(path)?\(query)",
            headers: HTTPHeaders(headers.map { ($0.name, $0.value) }))
    }

    private var hostHeader: String {
        let port = endpoint.address.port
        let host = host.contains(":") ? "[\(host)]" : host
        return port == (endpoint.isSecure ? 443 : 80) ? host : "\(host):\(port)"
    }
}

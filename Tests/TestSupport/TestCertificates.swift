/// Certificates for a server of a test.
package enum TestCertificates {
    /// Makes `root.pem`, an authority; `server.pem` and `server.key`, which it signed for `localhost` and `127.0.0.1`; and
    /// `other.pem`, an authority that signed nothing.
    package static func make(in directory: String) throws {
        try Child.run(
            "/bin/sh",
            [
                "-e", "-c",
                """
                cd "$0"
                openssl ecparam -name prime256v1 -genkey -noout -out root.key
                openssl req -x509 -new -key root.key -days 2 -subj "/CN=Test root" -out root.pem
                openssl ecparam -name prime256v1 -genkey -noout -out server.key
                openssl req -new -key server.key -subj "/CN=localhost" -out server.csr
                printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' > server.ext
                openssl x509 -req -in server.csr -CA root.pem -CAkey root.key -CAcreateserial -days 2 \
                    -extfile server.ext -out server.pem
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                    -subj "/CN=Other root" -keyout other.key -out other.pem
                chmod 600 server.key
                """, directory,
            ])
    }
}

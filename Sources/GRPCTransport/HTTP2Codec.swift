internal import CNghttp2

/// The one place where libnghttp2 calls back: sessions are made here, and each callback becomes an event.
enum HTTP2Codec {
    static let keepAlivePing: UInt8 = 1
    static let drainPing: UInt8 = 2

    /// The session keeps an unretained pointer to `connection`, which deletes it in `stop` or `deinit`, so never later.
    static func makeSession(for connection: HTTP2Connection) -> OpaquePointer {
        var option: OpaquePointer?
        precondition(nghttp2_option_new(&option) == 0, "out of memory")
        defer { nghttp2_option_del(option) }
        // Windows are opened by hand, so that what we have not digested is what the peer may not yet repeat.
        nghttp2_option_set_no_auto_window_update(option, 1)
        nghttp2_option_set_no_closed_streams(option, 1)
        nghttp2_option_set_max_outbound_ack(option, 256)
        nghttp2_option_set_max_settings(option, 32)
        // Resets are judged by ``HTTP2Connection/countReset()``; the codec's own limit stands behind that.
        let resets = (connection.options.resetBurst * 2, connection.options.resetsPerSecond * 2)
        nghttp2_option_set_stream_reset_rate_limit(option, UInt64(resets.0), UInt64(resets.1))
        var session: OpaquePointer?
        let user = Unmanaged.passUnretained(connection).toOpaque()
        let result =
            connection.isServer
            ? nghttp2_session_server_new2(&session, callbacks, user, option)
            : nghttp2_session_client_new2(&session, callbacks, user, option)
        guard result == 0, let session else { preconditionFailure("out of memory") }
        return session
    }

    static func submitSettings(_ session: OpaquePointer?, isServer: Bool, _ options: TransportOptions) {
        let none = UInt8(NGHTTP2_FLAG_NONE.rawValue)
        var entries = [
            entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options.streamWindowBytes),
            entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options.maximumHeaderBytes),
        ]
        if isServer {
            entries.append(entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options.maximumConcurrentCalls))
        } else {
            entries.append(entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
        }
        nghttp2_submit_settings(session, none, entries, entries.count)
        nghttp2_session_set_local_window_size(session, none, 0, Int32(options.connectionWindowBytes))
    }

    private static func entry(_ id: nghttp2_settings_id, _ value: Int) -> nghttp2_settings_entry {
        nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: UInt32(value))
    }

    /// The table of callbacks: written once before anybody reads it and never after.
    nonisolated(unsafe) private static let callbacks: OpaquePointer = {
        var table: OpaquePointer?
        precondition(nghttp2_session_callbacks_new(&table) == 0, "out of memory")
        guard let table else { preconditionFailure("out of memory") }
        nghttp2_session_callbacks_set_on_begin_headers_callback(table) { _, frame, user in
            let frame = frame!.pointee
            connection(user).headersBegan(frame.hd.stream_id, category: frame.headers.cat)
            return 0
        }
        nghttp2_session_callbacks_set_on_header_callback(table) {
            _, frame, name, nameBytes, value, valueBytes, _, user in
            let connection = connection(user)
            connection.field(
                frame!.pointee.hd.stream_id, name: UnsafeBufferPointer(start: name, count: nameBytes),
                value: UnsafeBufferPointer(start: value, count: valueBytes))
            return connection.failure == nil ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(table) { _, frame, user in
            received(frame!, connection(user))
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table) { _, _, stream, bytes, count, user in
            connection(user).data(stream, UnsafeBufferPointer(start: bytes, count: count))
            return 0
        }
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(table) { _, _, _, user in
            let connection = connection(user)
            connection.countIdleFrame()
            return connection.failure == nil ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(table) { _, stream, code, user in
            connection(user).streamClosed(stream, errorCode: code)
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_send_callback(table) { _, frame, user in
            let header = frame!.pointee.hd
            if header.type == UInt8(NGHTTP2_HEADERS.rawValue) {
                connection(user).headersSent(header.stream_id, endStream: endsStream(header.flags))
            } else if header.type == UInt8(NGHTTP2_GOAWAY.rawValue) {
                connection(user).goAwaySent(errorCode: frame!.pointee.goaway.error_code)
            }
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_not_send_callback(table) { _, frame, _, user in
            let header = frame!.pointee.hd
            if header.type == UInt8(NGHTTP2_HEADERS.rawValue) { connection(user).headersNotSent(header.stream_id) }
            return 0
        }
        return table
    }()

    private static func received(_ frame: UnsafePointer<nghttp2_frame>, _ connection: HTTP2Connection) -> Int32 {
        let header = frame.pointee.hd
        switch nghttp2_frame_type(UInt32(header.type)) {
        case NGHTTP2_HEADERS:
            connection.headersEnded(header.stream_id, endStream: endsStream(header.flags))
            if endsStream(header.flags) { connection.remoteClosed(header.stream_id) }
        case NGHTTP2_DATA:
            if endsStream(header.flags) {
                connection.remoteClosed(header.stream_id)
            } else if frame.pointee.data.padlen >= header.length {
                // Nothing, or padding alone.
                connection.countIdleFrame()
            }
        case NGHTTP2_RST_STREAM:
            connection.countReset()
        case NGHTTP2_GOAWAY:
            connection.goAwayReceived(
                lastStream: frame.pointee.goaway.last_stream_id, errorCode: frame.pointee.goaway.error_code)
        case NGHTTP2_PING:
            if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0 {
                connection.pingAnswered(frame.pointee.ping.opaque_data.0)
            } else {
                connection.countIdleFrame()
            }
        case NGHTTP2_SETTINGS:
            connection.countIdleFrame()
            connection.settingsReceived()
        case NGHTTP2_PRIORITY:
            connection.countIdleFrame()
        default:
            break
        }
        return connection.failure == nil ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
    }

    private static func endsStream(_ flags: UInt8) -> Bool { flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0 }

    private static func connection(_ user: UnsafeMutableRawPointer?) -> HTTP2Connection {
        Unmanaged<HTTP2Connection>.fromOpaque(user!).takeUnretainedValue()
    }

    /// A body that is read from the connection's streams.
    static func provider() -> nghttp2_data_provider {
        var provider = nghttp2_data_provider()
        provider.read_callback = { _, stream, target, capacity, flags, _, user in
            var result = flags!.pointee
            let count = HTTP2Codec.connection(user).fill(
                stream, UnsafeMutableRawBufferPointer(start: target, count: capacity), &result)
            flags!.pointee = result
            return count
        }
        return provider
    }
}

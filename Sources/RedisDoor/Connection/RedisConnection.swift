import DequeModule
import EsperTypes
import KernelCache
import Metrics
import NIOCore

/// One client: reads requests, runs them in order, and writes the answers in the same order, those of one turn at once.
///
/// Reads are answered on the spot when this node can; the others go on elsewhere, side by side, and their answers wait for their
/// turn in `slots`. A write starts when everything before it is answered, and what follows waits for it; plain writes of
/// different keys by a tenant of kind *cache* may overlap. Nothing is read from the socket while requests wait, or answers are
/// not taken.
final class RedisConnection: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum Slot {
        case waiting(Waiting)
        case ready(ByteBuffer, [ValueLease])
        /// Names that changed, with their versions.
        case push([TrackingTable.Change]?)
    }

    private struct Waiting {
        var version: ReplyWriter.Version
        var since: Instant
        var limit: Duration
        var instead: Reply?
        var isWrite: Bool
    }

    let session: RedisSession
    private let loop: DoorLoop
    private let door: DoorContext
    private let limits: RequestParser.Limits
    private var context: ChannelHandlerContext?
    private var parser = RequestParser()
    private var input: ByteBuffer?
    private var output = ByteBuffer()
    private var isInTurn = false
    /// The channel may call back while it is written to: what it asks for then is done afterwards.
    private var isBusy = false
    private var mustGoOn = false
    private var slots = Deque<Slot>()
    private var firstSlot = 0
    /// Of answers that wait for their turn.
    private var slotBytes = 0
    /// Of what is in `output`.
    private var leases: [ValueLease] = []
    /// Of what is in `input`.
    private var inputLease: ValueLease?
    /// The request in the parser has not begun.
    private var holdsRequest = false
    /// Of a request that came as a line, and has not begun.
    private var heldLine: [[UInt8]]?
    private var isAlone = false
    private var writes: [Int: [UInt8]] = [:]
    private var holdsRead = false
    private var isWritable = true
    private var unreadSince: Instant?
    private var unreadPushBytes = 0
    private var isEnding = false
    /// The name that is asked for, used again and again.
    private var scratch: [UInt8] = []
    private var scratchPrefix = -1

    init(session: RedisSession, loop: DoorLoop) {
        self.session = session
        self.loop = loop
        door = session.door
        limits = RequestParser.Limits(bulkBytes: door.options.maximumBulkBytes)
    }

    // MARK: The channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        loop.connections[session.id] = self
        loop.counts.connections += 1
        session.inbox = loop.inbox
    }

    func handlerRemoved(context: ChannelHandlerContext) { leave() }

    func channelInactive(context: ChannelHandlerContext) {
        leave()
        context.fireChannelInactive()
    }

    private func leave() {
        guard context != nil else { return }
        context = nil
        isEnding = true
        input = nil
        inputLease = nil
        slots.removeAll()
        leases.removeAll()
        loop.connections[session.id] = nil
        loop.busy.remove(session.id)
        session.ended()
        door.totals.closed()
        loop.closedOne()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        loop.counts.readBytes += buffer.readableBytes
        guard !isEnding else { return }
        if input == nil { input = buffer } else { input?.writeBuffer(&buffer) }
        uninterrupted { run() }
    }

    func channelReadComplete(context: ChannelHandlerContext) { uninterrupted { endTurn() } }

    func read(context: ChannelHandlerContext) {
        if isBlocked { holdsRead = true } else { context.read() }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        unreadSince = isWritable ? nil : loop.coarseNow
        noteBusy()
        if isWritable {
            unreadPushBytes = 0
            goOn()
        }
    }

    // MARK: Turns

    private var isBlocked: Bool {
        isAlone || holdsRequest || heldLine != nil || !isWritable || isEnding
            || slots.count >= door.options.maximumOutstanding || slotBytes >= door.options.outputBytes
    }

    /// Goes on with what was held up, after something changed.
    func goOn() {
        guard !isBusy else {
            mustGoOn = true
            return
        }
        uninterrupted {
            run()
            endTurn()
        }
        if holdsRead, !isBlocked, let context {
            holdsRead = false
            context.read()
        }
    }

    private func uninterrupted(_ body: () -> Void) {
        isBusy = true
        body()
        isBusy = false
        guard mustGoOn else { return }
        mustGoOn = false
        goOn()
    }

    private func beginTurn() {
        guard !isInTurn else { return }
        isInTurn = true
        swap(&output, &loop.answers)
        output.clear()
    }

    private func endTurn() {
        guard isInTurn else { return }
        if isEnding, slots.isEmpty, output.readableBytes == 0 { context?.close(promise: nil) }
        writeOutput()
        swap(&output, &loop.answers)
        isInTurn = false
    }

    private func writeOutput() {
        guard output.readableBytes > 0, let context else { return }
        loop.counts.writtenBytes += output.readableBytes
        if isEnding, slots.isEmpty {
            let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
            context.writeAndFlush(wrapOutboundOut(output)).whenComplete { _ in bound.value.close(promise: nil) }
        } else if leases.isEmpty {
            context.writeAndFlush(wrapOutboundOut(output), promise: nil)
        } else {
            // Kept until the socket has taken it all.
            context.writeAndFlush(wrapOutboundOut(output)).whenComplete { [leases] _ in
                withExtendedLifetime(leases) {}
            }
            leases = []
        }
        // Written at once nearly always: then the memory is this turn's alone again. What one long answer needed is not kept.
        if output.capacity > 4 * door.options.outputBytes { output = ByteBuffer() } else { output.clear() }
    }

    private enum Pause {
        case needsMore
        case blocked
        case full
        case line([UInt8])
        case failed(String)
    }

    /// Runs the requests that are there, as far as they may.
    private func run() {
        guard !isEnding, input != nil || heldLine != nil else { return }
        var bytes = input ?? ByteBuffer()
        input = nil
        // What the requests bring with them is counted by each of them.
        inputLease = nil
        beginTurn()
        var turn = HitTurn()
        defer {
            door.cache.end(&turn)
            session.lastUse = loop.coarseNow
        }
        while true {
            let pause = bytes.withUnsafeReadableBytes { runRequests(in: $0, &turn) }
            let consumed = parser.consumed
            bytes.moveReaderIndex(forwardBy: consumed)
            parser.dropConsumed()
            switch pause {
            case .full:
                writeOutput()
                guard isWritable else { break }
                continue
            case .line(let line):
                if !line.isEmpty {
                    door.cache.end(&turn)
                    runLine(line)
                }
                if isEnding { break }
                continue
            case .failed(let message):
                emit(.error("ERR \(message)"))
                door.metrics.closed("protocol")
                end()
            case .needsMore, .blocked: break
            }
            break
        }
        if !isEnding { keep(bytes) }
    }

    /// Holds on to what is not a whole request yet, in little memory.
    private func keep(_ bytes: consuming ByteBuffer) {
        guard bytes.readableBytes > 0 else {
            inputLease = nil
            parser.shrink()
            return
        }
        guard leaseInput(bytes.readableBytes) else { return cut("memory") }
        if bytes.readableBytes < 1024 {
            input = ByteBuffer(bytes: bytes.readableBytesView)
        } else {
            bytes.discardReadBytes()
            input = bytes
            // Not on the sender's word alone: twice of what has come.
            let missing = parser.neededBytes - bytes.readableBytes
            if missing > 0 {
                input?.reserveCapacity(minimumWritableBytes: min(missing, max(bytes.readableBytes, 64 << 10)))
            }
        }
    }

    /// Counts what has come of a long request, anew as it grows.
    private func leaseInput(_ bytes: Int) -> Bool {
        guard bytes <= door.options.maximumRequestBytes else { return false }
        guard bytes >= 64 << 10 else {
            inputLease = nil
            return true
        }
        inputLease = nil
        let lease = ValueLease(door.values)
        inputLease = lease
        return lease.take(bytes)
    }

    private func runRequests(in bytes: UnsafeRawBufferPointer, _ turn: inout HitTurn) -> Pause {
        if let heldLine { begin(line: heldLine) }
        while true {
            if !holdsRequest {
                guard !isBlocked else { return .blocked }
                let isAnswered = answerPlainGets(in: bytes, &turn)
                guard output.readableBytes < door.options.outputBytes else { return .full }
                do throws(RequestParser.Failure) {
                    switch try parser.next(in: bytes, limits: limits, isAuthenticated: session.user != nil) {
                    case .needsMore: return .needsMore
                    case .line(let line): return .line(line)
                    case .request: break
                    }
                } catch {
                    return .failed(error.message)
                }
                if isAnswered, isPlainGet(bytes), let isHit = answer(parser.arguments[1], in: bytes, &turn) {
                    noteGets(hits: isHit ? 1 : 0, misses: isHit ? 0 : 1)
                    continue
                }
            }
            // What follows may have to see what this one sees.
            door.cache.end(&turn)
            let arguments = parser.arguments.map { [UInt8](copying: bytes, $0.range) }
            guard start(arguments) else { return .blocked }
            if isEnding { return .blocked }
        }
    }

    private func begin(line arguments: [[UInt8]]) {
        heldLine = nil
        guard !start(arguments) else { return }
        holdsRequest = false
        heldLine = arguments
    }

    private func runLine(_ line: [UInt8]) {
        var inner = RequestParser()
        line.withUnsafeBytes { bytes in
            guard case .request? = try? inner.next(in: bytes, limits: limits) else { return }
            let arguments = inner.arguments.map { [UInt8](copying: bytes, $0.range) }
            begin(line: arguments)
        }
    }

    // MARK: The short way

    /// Answers the reads of single keys that stand at the front, as long as there is room.
    ///
    /// - Returns: false when this node cannot answer the one that is there now at once.
    private func answerPlainGets(in bytes: UnsafeRawBufferPointer, _ turn: inout HitTurn) -> Bool {
        guard session.isPlain, slots.isEmpty else { return true }
        let room = door.options.outputBytes
        var (hits, misses) = (0, 0)
        defer { noteGets(hits: hits, misses: misses) }
        while output.readableBytes < room, let key = parser.plainGet(in: bytes, limits: limits) {
            guard let isHit = answer(key, in: bytes, &turn) else { return false }
            parser.pass(key)
            if isHit { hits += 1 } else { misses += 1 }
        }
        return true
    }

    private func noteGets(hits: Int, misses: Int) {
        guard hits + misses > 0 else { return }
        loop.counts.hits += hits
        loop.counts.misses += misses
        loop.counts.commands += hits + misses
        session.lastCommand = "get"
    }

    @inline(__always)
    private func isPlainGet(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard parser.arguments.count == 2, parser.arguments[0].count == 3, session.isPlain, slots.isEmpty else {
            return false
        }
        let start = parser.arguments[0].start
        return bytes[start] | 0x20 == UInt8(ascii: "g") && bytes[start + 1] | 0x20 == UInt8(ascii: "e")
            && bytes[start + 2] | 0x20 == UInt8(ascii: "t")
    }

    /// Answers a read of one key if this node can do so at once.
    ///
    /// - Returns: whether there is a value; nil: it cannot.
    @inline(__always)
    private func answer(
        _ slice: RequestParser.Slice, in bytes: UnsafeRawBufferPointer, _ turn: inout HitTurn
    ) -> Bool? {
        let key = UnsafeRawBufferPointer(rebasing: bytes[slice.range])
        if scratchPrefix < 0 {
            scratch = session.keyspace?.prefix ?? []
            scratchPrefix = scratch.count
        }
        if scratch.count == scratchPrefix + key.count {
            scratch.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[scratchPrefix...]).copyMemory(from: key)
            }
        } else {
            scratch.replaceSubrange(scratchPrefix..., with: key)
        }
        switch door.cache.hit(scratch, in: &turn) {
        case .found(_, let value):
            value.withUnsafeBytes { ReplyWriter.bulk($0, into: &output) }
            return true
        case .absent:
            guard session.knowsOnlyStrings else { return nil }
            ReplyWriter.null(session.version, into: &output)
            return false
        case nil: return nil
        }
    }

    // MARK: The long way

    /// Begins a request; false when it has to wait, and stays in the parser.
    private func start(_ arguments: [[UInt8]]) -> Bool {
        let spec = CommandTable.command(arguments[0])
        let flags = spec?.flags ?? []
        if !slots.isEmpty, !mayStart(flags, arguments) {
            holdsRequest = true
            return false
        }
        holdsRequest = false
        loop.counts.commands += 1
        scratchPrefix = -1
        let version = session.version
        let takesAnswer = session.takesAnswer()
        switch session.receive(spec, arguments) {
        case .now(let reply): if takesAnswer, session.answers != .none { emit(reply) }
        case .later(let errand):
            let number = firstSlot + slots.count
            let isTold = takesAnswer && session.answers != .none
            slots.append(
                .waiting(
                    Waiting(
                        version: version, since: door.clock.now(), limit: errand.limit,
                        instead: isTold ? errand.instead : errand.instead.map { _ in .silent },
                        isWrite: errand.isWrite)))
            if flags.contains(.write) {
                if isOverlapping(arguments) { writes[number] = arguments[1] } else { isAlone = true }
            } else if flags.contains(.alone) {
                isAlone = true
            }
            noteBusy()
            let connection = session.id
            // Ends by its deadline, as everything that the cache does; the answer of a connection that is gone is dropped.
            Task { [inbox = loop.inbox!] in
                let reply = await errand.work()
                inbox.add(.answer(connection: connection, number: number, isTold ? reply : .silent, errand.lease))
            }
        }
        if session.endsAfterAnswer { end() }
        return true
    }

    private func mayStart(_ flags: CommandSpec.Flags, _ arguments: [[UInt8]]) -> Bool {
        if isAlone || flags.contains(.alone) { return false }
        if flags.contains(.write) {
            return isOverlapping(arguments) && !writes.isEmpty && writes.count == slots.count
                && !writes.values.contains(arguments[1])
        }
        return writes.isEmpty
    }

    /// A plain write by somebody who does not mind in which order others see two of them.
    private func isOverlapping(_ arguments: [[UInt8]]) -> Bool {
        arguments.count == 3 && arguments[0].isWord("SET") && session.user?.kind == .cache && !session.isInTransaction
    }

    private func emit(_ reply: Reply) {
        if reply.isError { loop.counts.errors += 1 }
        beginTurn()
        if slots.isEmpty {
            ReplyWriter.write(reply, session.version, into: &output)
            return
        }
        var (buffer, leases) = (ByteBuffer(), [ValueLease]())
        if case .ready(let last, let held)? = slots.last {
            slots.removeLast()
            (buffer, leases) = (last, held)
        }
        let before = buffer.readableBytes
        ReplyWriter.write(reply, session.version, into: &buffer)
        slotBytes += buffer.readableBytes - before
        slots.append(.ready(buffer, leases))
    }

    /// The answer to a request that went on elsewhere; ``goOn()`` follows.
    func finish(_ number: Int, _ reply: Reply, _ lease: ValueLease?) {
        let index = number - firstSlot
        guard slots.indices.contains(index), case .waiting(let waiting) = slots[index] else { return }
        if reply.isError { loop.counts.errors += 1 }
        writes[number] = nil
        isAlone = false
        beginTurn()
        if index == 0 {
            ReplyWriter.write(reply, waiting.version, into: &output)
            if let lease { leases.append(lease) }
            slots.removeFirst()
            firstSlot += 1
        } else {
            var buffer = ByteBuffer()
            ReplyWriter.write(reply, waiting.version, into: &buffer)
            slotBytes += buffer.readableBytes
            slots[index] = .ready(buffer, lease.map { [$0] } ?? [])
        }
        writeReadySlots()
        noteBusy()
    }

    private func writeReadySlots() {
        while let slot = slots.first {
            switch slot {
            case .waiting: return
            case .ready(var buffer, let held):
                slotBytes -= buffer.readableBytes
                output.writeBuffer(&buffer)
                leases += held
            case .push(let changes): writePush(changes)
            }
            slots.removeFirst()
            firstSlot += 1
        }
    }

    // MARK: Invalidations

    /// Tells the client that keys changed, after every answer that was begun before: an answer read before the change must not
    /// come after the news of it. ``goOn()`` follows.
    func push(_ changes: [TrackingTable.Change]?) {
        guard session.version == .three, !isEnding else { return }
        beginTurn()
        if slots.isEmpty { writePush(changes) } else { slots.append(.push(changes)) }
        guard !isWritable else { return }
        unreadPushBytes += changes?.reduce(0) { $0 + $1.name.count } ?? 0
        if unreadPushBytes > door.options.pushBytes { cut("pushes") }
    }

    private func writePush(_ changes: [TrackingTable.Change]?) {
        let keys = changes.map { session.keysToTell($0) }
        guard keys?.isEmpty != true else { return }
        ReplyWriter.invalidation(keys, into: &output)
        door.metrics.invalidations.increment()
    }

    // MARK: The end

    /// Closes once everything that is owed was written.
    private func end() {
        isEnding = true
        input = nil
    }

    /// Takes no more requests, and closes once it has answered.
    func drain() {
        end()
        beginTurn()
        uninterrupted { endTurn() }
    }

    private func noteBusy() {
        if slots.isEmpty, isWritable { loop.busy.remove(session.id) } else { loop.busy.insert(session.id) }
    }

    /// Says something else instead of an answer that would be late, closes when nothing else can be said, or when the client does
    /// not read. To be called every ``DoorLoop/tickTime``.
    func check(at now: Instant) {
        let overdue = zip(firstSlot..., slots).compactMap { number, slot -> (Int, Reply, isWrite: Bool)? in
            guard case .waiting(let waiting) = slot, let instead = waiting.instead,
                now - waiting.since >= waiting.limit - DoorLoop.tickTime
            else { return nil }
            return (number, instead, waiting.isWrite)
        }
        for (number, instead, isWrite) in overdue {
            if isWrite { door.metrics.unkept("late") }
            finish(number, instead, nil)
        }
        if !overdue.isEmpty { goOn() }
        if case .waiting(let waiting)? = slots.first, now - waiting.since > waiting.limit { return cut("late") }
        if let unreadSince, now - unreadSince > door.options.unreadWithin { cut("unread") }
    }

    func cut(_ reason: String) {
        door.metrics.closed(reason)
        isEnding = true
        context?.close(promise: nil)
    }
}

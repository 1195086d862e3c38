import Metrics
import Observability
import Testing

@Suite struct PrometheusRegistryTests {
    let registry = PrometheusRegistry(maximumSeries: 8)

    func line(_ start: String) -> String? {
        registry.expose().split(separator: "\n").first { $0.hasPrefix(start) }.map(String.init)
    }

    @Test func `a counter is named after its label and ends in total`() {
        let counter = Counter(label: "raft.leader.changes", factory: registry)
        counter.increment(by: 3)
        counter.increment(by: -2)
        #expect(line("esper_raft_leader_changes_total") == "esper_raft_leader_changes_total 3")
        #expect(line("# TYPE esper_raft") == "# TYPE esper_raft_leader_changes_total counter")
    }

    @Test func `labels are escaped, sorted and cannot take the name of a bucket's bound`() {
        Gauge(
            label: "door.open", dimensions: [("reason", "a\"b\\c\nd"), ("le", "x"), ("1st-try", "é")],
            factory: registry
        ).record(2.5)
        #expect(
            line("esper_door_open")
                == #"esper_door_open{_1st_try="é",exported_le="x",reason="a\"b\\c\nd"} 2.5"#)
    }

    @Test func `a timer is a histogram in seconds whose count is its last bucket`() {
        let timer = Timer(label: "log.sync.duration", factory: registry)
        timer.recordMicroseconds(80)
        timer.recordMilliseconds(3)
        timer.recordSeconds(60)
        let name = "esper_log_sync_duration_seconds"
        #expect(line("\(name)_bucket{le=\"5e-05\"}") == "\(name)_bucket{le=\"5e-05\"} 0")
        #expect(line("\(name)_bucket{le=\"0.0001\"}") == "\(name)_bucket{le=\"0.0001\"} 1")
        #expect(line("\(name)_bucket{le=\"10\"}") == "\(name)_bucket{le=\"10\"} 2")
        #expect(line("\(name)_bucket{le=\"+Inf\"}") == "\(name)_bucket{le=\"+Inf\"} 3")
        #expect(line("\(name)_count") == "\(name)_count 3")
    }

    @Test func `series beyond the bound and names of another kind are refused, counted and still work`() {
        for number in 0..<20 {
            Counter(label: "many", dimensions: [("n", "\(number)")], factory: registry).increment()
        }
        #expect(registry.expose().split(separator: "\n").filter { $0.hasPrefix("esper_many_total{") }.count == 8)
        #expect(line("esper_metrics_refused_total") == "esper_metrics_refused_total 12")
        Recorder(label: "many.total", factory: registry).record(1)
        #expect(line("esper_metrics_refused_total") == "esper_metrics_refused_total 13")
    }

    @Test func `two owners share a series and the last takes it along`() {
        let first = Counter(label: "shared", factory: registry)
        let second = Counter(label: "shared", factory: registry)
        first.increment()
        second.increment()
        #expect(line("esper_shared_total") == "esper_shared_total 2")
        first.destroy()
        #expect(line("esper_shared_total") == "esper_shared_total 2")
        second.destroy()
        #expect(line("esper_shared_total") == nil)
    }

    @Test func `the process reports its memory, time, descriptors and start`() throws {
        for name in [
            "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds",
            "process_start_time_seconds",
        ] {
            let value = try #require(line(name + " ")?.split(separator: " ").last.flatMap { Double($0) })
            #expect(value > 0, "\(name)")
        }
    }

    @Test func `threads that record at once lose nothing`() async {
        let counter = Counter(label: "busy", factory: registry)
        let recorder = Recorder(label: "sizes", factory: registry)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for _ in 0..<10_000 {
                        counter.increment()
                        recorder.record(5)
                    }
                }
            }
        }
        #expect(line("esper_busy_total") == "esper_busy_total 40000")
        #expect(line("esper_sizes_sum") == "esper_sizes_sum 200000")
        #expect(line("esper_sizes_bucket{le=\"16\"}") == "esper_sizes_bucket{le=\"16\"} 40000")
    }
}

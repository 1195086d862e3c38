internal import Synchronization

/// How well a component does, from well to ill.
public enum HealthState: String, Sendable, Comparable, CaseIterable {
    case ok, degraded, failing

    public static func < (left: HealthState, right: HealthState) -> Bool { left.severity < right.severity }

    private var severity: Int {
        switch self {
        case .ok: 0
        case .degraded: 1
        case .failing: 2
        }
    }
}

/// What a component's failure means for the whole.
public enum HealthScope: String, Sendable {
    /// The process must be restarted: `/health` fails, and `/ready` with it.
    case liveness
    /// No new work should come here until it passes: only `/ready` fails.
    case readiness
}

/// One component's state and, unless it is ok, the reason in words for an operator.
public struct ComponentHealth: Sendable, Hashable {
    public var name: String
    public var scope: HealthScope
    public var state: HealthState
    public var reason: String?

    public init(name: String, scope: HealthScope, state: HealthState, reason: String? = nil) {
        self.name = name
        self.scope = scope
        self.state = state
        self.reason = reason
    }
}

/// All components at one moment, in the order they were added.
public struct HealthReport: Sendable, Hashable {
    public var components: [ComponentHealth]

    public init(components: [ComponentHealth]) { self.components = components }

    /// The worst of the components; ok without any.
    public var state: HealthState { components.map(\.state).max() ?? .ok }

    /// Whether `/health` answers 200. A degraded component is alive.
    public var isAlive: Bool { !components.contains { $0.scope == .liveness && $0.state == .failing } }

    /// Whether `/ready` answers 200. A degraded component is ready, and says so in the answer.
    public var isReady: Bool { !components.contains { $0.state == .failing } }

    /// One JSON object: `state`, `alive`, `ready`, `components[]` with `name`, `scope`, `state` and `reason`.
    public var json: String {
        var text = "{\"state\":\"\(state.rawValue)\",\"alive\":\(isAlive),\"ready\":\(isReady),\"components\":["
        for (index, component) in components.enumerated() {
            if index > 0 { text += "," }
            text += "{\"name\":"
            JSONText.appendString(component.name, to: &text)
            text += ",\"scope\":\"\(component.scope.rawValue)\",\"state\":\"\(component.state.rawValue)\""
            if let reason = component.reason {
                text += ",\"reason\":"
                JSONText.appendString(reason, to: &text)
            }
            text += "}"
        }
        return text + "]}"
    }
}

/// Where components leave their state and the doors read it. Any thread may do either at any time.
public final class Health: Sendable {
    private let components = Mutex<[ComponentHealth]>([])

    public init() {}

    /// Adds a component, or returns the reporter of the one with this name.
    ///
    /// - Parameters:
    ///   - state: until the component says otherwise. Starting components begin `.failing` with the reason "starting".
    public func component(
        _ name: String, scope: HealthScope = .readiness, state: HealthState = .failing, reason: String? = "starting"
    ) -> HealthReporter {
        components.withLock { components in
            guard !components.contains(where: { $0.name == name }) else { return }
            components.append(
                ComponentHealth(name: name, scope: scope, state: state, reason: state == .ok ? nil : reason))
        }
        return HealthReporter(health: self, name: name)
    }

    public var report: HealthReport { HealthReport(components: components.withLock { $0 }) }

    fileprivate func set(_ name: String, _ state: HealthState, _ reason: String?) {
        components.withLock { components in
            guard let index = components.firstIndex(where: { $0.name == name }) else { return }
            components[index].state = state
            components[index].reason = reason
        }
    }
}

/// A component's own pen.
public struct HealthReporter: Sendable {
    let health: Health
    let name: String

    public func ok() { health.set(name, .ok, nil) }

    public func degraded(_ reason: String) { health.set(name, .degraded, reason) }

    public func failing(_ reason: String) { health.set(name, .failing, reason) }
}

internal import SwiftProtobuf

/// Which file says what, of a set of .proto files in their compiled form.
struct ReflectionIndex: Sendable {
    private struct File: Sendable {
        /// A `google.protobuf.FileDescriptorProto`.
        let bytes: [UInt8]
        let imports: [String]
    }

    private struct Extension: Hashable {
        let type: String
        let number: Int32
    }

    private var files: [String: File] = [:]
    /// Full names of everything that has one: messages, fields, enumerations, their values, services, methods, extensions.
    private var symbols: [String: String] = [:]
    private var extensions: [Extension: String] = [:]
    /// Full names, sorted.
    private(set) var services: [String] = []

    /// - Parameter sets: a `google.protobuf.FileDescriptorSet` each; a file that is in several counts once.
    init(_ sets: [[UInt8]]) throws {
        for set in sets {
            for file in try Google_Protobuf_FileDescriptorSet(serializedBytes: set).file
            where files[file.name] == nil {
                files[file.name] = File(bytes: try file.serializedBytes(), imports: file.dependency)
                let scope = file.package.isEmpty ? "" : file.package + "."
                for message in file.messageType { add(message, scope, file.name) }
                for enumeration in file.enumType { add(enumeration, scope, file.name) }
                for field in file.extension { add(extension: field, scope, file.name) }
                for service in file.service { add(service, scope, file.name) }
            }
        }
        services.sort()
    }

    /// A file and all that it imports, itself first.
    func files(named name: String) -> [[UInt8]]? {
        guard files[name] != nil else { return nil }
        var found: [[UInt8]] = []
        var names = [name]
        var next = 0
        while next < names.count {
            if let file = files[names[next]] {
                found.append(file.bytes)
                for name in file.imports where !names.contains(name) { names.append(name) }
            }
            next += 1
        }
        return found
    }

    func files(containingSymbol symbol: String) -> [[UInt8]]? {
        symbols[symbol].flatMap { files(named: $0) }
    }

    func files(containingExtension number: Int32, of type: String) -> [[UInt8]]? {
        extensions[Extension(type: type, number: number)].flatMap { files(named: $0) }
    }

    /// - Returns: nil for a type that there is not.
    func extensionNumbers(of type: String) -> [Int32]? {
        guard symbols[type] != nil else { return nil }
        return extensions.keys.filter { $0.type == type }.map(\.number).sorted()
    }

    private mutating func add(_ message: Google_Protobuf_DescriptorProto, _ scope: String, _ file: String) {
        let name = scope + message.name
        symbols[name] = file
        for field in message.field { symbols["\(name).\(field.name)"] = file }
        for oneof in message.oneofDecl { symbols["\(name).\(oneof.name)"] = file }
        for nested in message.nestedType { add(nested, name + ".", file) }
        for enumeration in message.enumType { add(enumeration, name + ".", file) }
        for field in message.extension { add(extension: field, name + ".", file) }
    }

    /// The values of an enumeration are named beside it, not in it.
    private mutating func add(_ enumeration: Google_Protobuf_EnumDescriptorProto, _ scope: String, _ file: String) {
        symbols[scope + enumeration.name] = file
        for value in enumeration.value { symbols[scope + value.name] = file }
    }

    private mutating func add(_ service: Google_Protobuf_ServiceDescriptorProto, _ scope: String, _ file: String) {
        let name = scope + service.name
        services.append(name)
        symbols[name] = file
        for method in service.method { symbols["\(name).\(method.name)"] = file }
    }

    private mutating func add(
        extension field: Google_Protobuf_FieldDescriptorProto, _ scope: String, _ file: String
    ) {
        symbols[scope + field.name] = file
        // The compiler writes full names, with a dot before them.
        let type = field.extendee.hasPrefix(".") ? String(field.extendee.dropFirst()) : field.extendee
        extensions[Extension(type: type, number: field.number)] = file
    }
}

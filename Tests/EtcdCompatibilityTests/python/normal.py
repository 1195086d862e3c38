"""Makes answers of different clusters comparable.

Revisions become distances from the scenario's start (`+2`), identifiers that a server chose become names in the order
in which they turn up, clocks and sizes become words. Everything else is kept, order included.
"""
import re

REVISIONS = {"revision", "create_revision", "mod_revision", "compact_revision", "start_revision", "rev"}
SIZES = {"hash", "dbSize", "dbSizeInUse", "raftIndex", "raftAppliedIndex", "dbSizeQuota", "storageVersion", "authRevision"}
LEASE_FIELDS = {"lease"}
HEADER = ("cluster_id", "member_id", "raft_term")
#: Lease identifiers below this were chosen by the scenario and are kept.
CHOSEN = 1 << 32


class Names:
    """Gives each value that a server chose a name: `lease A`, `lease B`, …"""

    def __init__(self, kind):
        self.kind, self.known = kind, {}

    def __getitem__(self, value):
        if value not in self.known:
            self.known[value] = f"{self.kind} {chr(ord('A') + len(self.known))}"
        return self.known[value]


class Normaliser:
    def __init__(self, base, members, secrets=()):
        self.base = base
        self.leases = Names("lease")
        #: Names of members by their identifiers.
        self.members = members
        #: What differs between the clusters and may be part of a text: endpoints, directories.
        self.secrets = secrets

    def revision(self, value):
        """`+2`; in quotes when it was written as a string, which is how JSON has 64 bits."""
        if isinstance(value, str):
            return f"'{self.revision(int(value))}'" if value.lstrip("-").isdigit() else value
        if value == 0:
            return 0
        return f"+{value - self.base}" if value >= self.base else f"-{self.base - value}"

    def lease(self, value):
        if isinstance(value, str):
            return f"'{self.lease(int(value))}'" if value.isdigit() else value
        return value if value < CHOSEN else self.leases[value]

    def member(self, value):
        value = int(value)
        return 0 if value == 0 else self.members.get(value, "a stranger")

    def header(self, header):
        """A header is its revision; what every header must have is named only where it is missing."""
        missing = [name for name in HEADER if int(header.get(name, 0)) == 0]
        revision = self.revision(header.get("revision", 0))
        return f"{revision} without {', '.join(missing)}" if missing else revision

    def text(self, value):
        if isinstance(value, (bytes, bytearray)):
            if len(value) > 512:
                return f"{len(value)} bytes"
            value = value.decode("utf-8", "backslashreplace")
        if len(value) > 4096:
            return f"{len(value)} characters"
        for secret, name in self.secrets:
            value = value.replace(secret, name)
        # Keys of locks and elections end in the lease's identifier.
        return re.sub(r"(?<=/)[0-9a-f]{9,16}(?=\b)", lambda found: f"<{self.lease(int(found.group(), 16))}>", value)

    def value(self, value, name="", ids="lease"):
        """Normalises a tree of plain values; `ids` says what `ID` means here."""
        if name == "header" and isinstance(value, dict):
            return self.header(value)
        if isinstance(value, dict):
            # A key pair's, a session's or a member's `ID`.
            return {key: self.value(item, key, ids) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item, name, ids) for item in value]
        if value is None or isinstance(value, (bool, float)):
            return value
        if name in REVISIONS:
            return self.revision(value)
        if name in LEASE_FIELDS or name in ("ID", "id") and ids == "lease":
            return self.lease(value)
        if name in ("ID", "id", "member_id", "memberID") and ids == "member":
            return self.member(value)
        if name == "leader" and not isinstance(value, str):
            return "a member" if int(value) in self.members else value
        if name in SIZES:
            return "some" if value else value
        if name in ("raftTerm", "raft_term", "cluster_id"):
            return "some" if int(value) else 0
        if name == "version" and isinstance(value, str) and value.count(".") >= 1:
            return ".".join(value.split(".")[:2])
        if isinstance(value, (bytes, bytearray, str)):
            return self.text(value)
        return value


def tree(message):
    """A protobuf message as plain values: what is set, in the order of field numbers, enumerations by name."""
    result = {}
    for field, value in message.ListFields():
        entry = field.message_type is not None and field.message_type.GetOptions().map_entry
        repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
        if entry:
            result[field.name] = dict(sorted(value.items()))
        elif repeated:
            result[field.name] = [plain(field, item) for item in value]
        else:
            result[field.name] = plain(field, value)
    return result


def plain(field, value):
    if field.message_type is not None:
        return tree(value)
    if field.enum_type is not None:
        found = field.enum_type.values_by_number.get(value)
        return found.name if found else value
    return value

"""What the scripts that drive a Python client share: their arguments, and the steps they report."""
import atexit
import json
import sys

host, ports, authority, certificate, key, prefix = sys.argv[1:]
ports = [int(port) for port in ports.split(",")]
steps = []


def plain(value):
    """Bytes as text, so that a report is JSON."""
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def note(step, value):
    steps.append([step, plain(value)])


# Also of a script that fails on its way.
atexit.register(lambda: print(json.dumps(steps)))

"""torch.compile on two "hosts": fresh processes with caches of their own, whose remote caches are the doors of two nodes.

The second must find every graph that the first compiled: first with Inductor's cache of graphs alone, then with AOTAutograd's
before it. Called with: PORT PORT; prints what each took.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

HOST = """
import json, resource, sys, time
import torch
from torch._dynamo.utils import counters

torch.manual_seed(0)
width = int(sys.argv[1])
model = torch.nn.Sequential(
    torch.nn.Linear(64, width), torch.nn.GELU(), torch.nn.LayerNorm(width), torch.nn.Linear(width, 64),
    torch.nn.Softmax(-1))
inputs = torch.randn(32, 64)
expected = model(inputs)


def processor():
    return sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
               for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


before, begin = processor(), time.monotonic()
compiled = torch.compile(model)
assert torch.allclose(compiled(inputs), expected, atol=1e-4)
compiled(inputs).sum().backward()
found = {name: counters["inductor"][name] for name in ("fxgraph_cache_hit", "fxgraph_cache_miss", "fxgraph_cache_bypass")}
found |= {name: count for name, count in counters["aot_autograd"].items() if "cache" in name}
print(json.dumps({
    "first_call_seconds": round(time.monotonic() - begin, 2), "cpu_seconds": round(processor() - before, 2), **found}))
"""


def host(port, width, **caches):
    with tempfile.TemporaryDirectory() as place:
        environment = {
            **os.environ, **caches, "TORCHINDUCTOR_CACHE_DIR": place, "TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE": "1",
            "TORCHINDUCTOR_REDIS_URL": f"redis://builder:correct@127.0.0.1:{port}",
            "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", HOST, str(width)], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout.splitlines()[-1])
        return {**report, "process_seconds": round(time.monotonic() - begin, 2)}


# Of another width each, so that nothing is there before.
for title, width, kind, caches in (
        ("graphs", 128, "fxgraph_cache", {"TORCHINDUCTOR_AUTOGRAD_REMOTE_CACHE": "0"}),
        ("AOTAutograd", 192, "autograd_cache", {"TORCHINDUCTOR_AUTOGRAD_REMOTE_CACHE": "1"})):
    hit, miss, bypass = f"{kind}_hit", f"{kind}_miss", f"{kind}_bypass"
    cold = host(sys.argv[1], width, **caches)
    print(title, "cold", cold, flush=True)
    assert cold[miss] > 0 and not cold.get(hit), cold
    warm = host(sys.argv[2], width, **caches)
    print(title, "warm", warm, flush=True)
    assert warm[hit] == cold[miss], warm
    assert not warm.get(miss) and not warm.get(bypass) and not warm["fxgraph_cache_miss"], warm
print("done")

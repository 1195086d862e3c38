"""torch.compile on two "hosts": fresh processes with caches of their own, whose remote caches are the doors of two nodes.

The second must find every graph that the first compiled. Called with: PORT PORT; prints what each took.
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
model = torch.nn.Sequential(
    torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.LayerNorm(128), torch.nn.Linear(128, 64), torch.nn.Softmax(-1))
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


def host(port):
    with tempfile.TemporaryDirectory() as place:
        environment = {
            **os.environ, "TORCHINDUCTOR_CACHE_DIR": place, "TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE": "1",
            "TORCHINDUCTOR_REDIS_URL": f"redis://builder:correct@127.0.0.1:{port}",
            "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", HOST], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout.splitlines()[-1])
        return {**report, "process_seconds": round(time.monotonic() - begin, 2)}


cold = host(sys.argv[1])
print("cold", cold, flush=True)
assert cold["fxgraph_cache_miss"] > 0 and not cold["fxgraph_cache_hit"], cold
warm = host(sys.argv[2])
print("warm", warm, flush=True)
assert warm["fxgraph_cache_hit"] == cold["fxgraph_cache_miss"], warm
assert not warm["fxgraph_cache_miss"] and not warm["fxgraph_cache_bypass"], warm
print("done")

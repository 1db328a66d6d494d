# SPDX-License-Identifier: Apache-2.0
"""What the peers in Python share: they answer requests, one JSON object a line.

    {"do": "make", "name": N, "kind": K, ...}  makes contestant N     {}
    {"do": "run", "name": N, "steps": S}       times S of its steps   {"ms": [...]}
    {"do": "gradients", "name": N}             of a net               {"loss": L, "gradients": [[...], ...]}
    {"do": "logits", "name": N, ...}           of weights and images  {"logits": [...]}
    {"do": "memory", "name": N}                bytes of this process  {"now": B, "peak": B}
    {"do": "drop", "name": N}                  forgets it             {}

A request that fails is answered by {"error": ...}. The first line is {"ready":
version} or {"missing": reason}. The program ends with its input.

    python3 PEER.py THREADS cpu|wall
"""
import json
import signal
import sys
import time

signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks decides when to end
threads = int(sys.argv[1])
clock = time.process_time_ns if sys.argv[2] == "cpu" else time.perf_counter_ns


def answer(reply):
    print(json.dumps(reply), flush=True)


def missing(name):
    answer({"missing": "no " + name})
    sys.exit(0)


def run(contestant, steps):
    """Milliseconds of each step; neither what comes before it nor, of more than one, a first step is timed."""
    if steps > 1:
        contestant.prepare()
        contestant.step()
    ms = []
    for _ in range(steps):
        contestant.prepare()
        start = clock()
        contestant.step()
        ms.append((clock() - start) / 1e6)
    return ms


def memory():
    """What Linux says of this process."""
    with open("/proc/self/status") as f:
        status = dict(line.split(":", 1) for line in f)
    now, peak = (1024 * int(status[key].split()[0]) for key in ("VmRSS", "VmHWM"))
    return {"now": now, "peak": peak}


def serve(version, kinds):
    """Answers requests; kinds are the classes of contestants, made of a request."""
    contestants = {}
    answer({"ready": version})
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        do, name = request["do"], request["name"]
        try:
            if do == "make":
                contestants[name] = kinds[request["kind"]](request)
                answer({})
            elif do == "run":
                answer({"ms": run(contestants[name], request["steps"])})
            elif do == "gradients":
                loss, gradients = contestants[name].gradients()
                answer({"loss": loss, "gradients": gradients})
            elif do == "logits":
                answer({"logits": contestants[name].logits(request)})
            elif do == "memory":
                answer(memory())
            elif do == "drop":
                contestants.pop(name, None)
                answer({})
            else:
                answer({"error": "unknown request " + do})
        except Exception as e:
            answer({"error": f"{type(e).__name__}: {e}"})


class Optimizer:
    """A step of an optimizer on parameters whose gradients are written before it."""

    def __init__(self, parameters, optimizer, clear=False):
        self.parameters, self.optimizer, self.clear = parameters, optimizer, clear
        self.saved = [0.05 * p.detach().new_empty(p.shape).normal_() for p in parameters]
        for p in parameters:
            p.grad = p.detach().new_empty(p.shape)

    def prepare(self):
        # From the last layer to the first, as a backward pass writes them.
        for p, g in reversed(list(zip(self.parameters, self.saved))):
            p.grad.copy_(g)

    def step(self):
        self.optimizer.step()
        if self.clear:
            self.optimizer.zero_grad(set_to_none=False)

"""One contender in a process of its own, told what to do line by line.

The first line of standard input is `{"name": ..., "problem": {...}}`; then `{"train": STEPS}` or
`{"judge": true}`. Each is answered by one line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings

import numpy as np
import torch

from benchmarks.contenders import CONTENDERS, TASKS, Problem, make_rows
from training.metrics import auc


def main() -> None:
    """Answer until the input ends."""
    warnings.simplefilter("ignore")
    answers = sys.stdout
    sys.stdout = sys.stderr
    told = json.loads(sys.stdin.readline())
    problem = Problem(**told["problem"])
    torch.set_num_threads(problem.threads)
    train, judged = make_rows(problem)
    contender = CONTENDERS[told["name"]](problem, train)
    print(json.dumps({"parameters": contender.parameters}), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "train" in order:
            started, spent = time.perf_counter(), time.process_time()
            contender.train(order["train"])
            answer = {"seconds": time.perf_counter() - started, "processor": time.process_time() - spent}
        else:
            predicted = contender.predict(judged).astype(np.float64)
            answer = {
                name: auc(predicted[:, place], judged.labels[:, place])
                for place, name in enumerate(TASKS[:-1])
            }
            answer[TASKS[-1]] = float(np.mean((predicted[:, -1] - judged.labels[:, -1]) ** 2))
        answer["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

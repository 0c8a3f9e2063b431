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

from benchmarks.contenders import COMPILED, CONTENDERS, TASKS, Problem, make_rows
from training.metrics.task_metrics import auc


def scores(predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """AUC of the binary tasks, mean squared error of the regression: [N, T] each."""
    found = {
        name: auc(predicted[:, place].astype(np.float64), labels[:, place])
        for place, name in enumerate(TASKS[:-1])
    }
    return {**found, TASKS[-1]: float(np.mean((predicted[:, -1].astype(np.float64) - labels[:, -1]) ** 2))}


def main() -> None:
    """Answer until the input ends."""
    warnings.simplefilter("ignore")
    answers = sys.stdout
    sys.stdout = sys.stderr
    told = json.loads(sys.stdin.readline())
    problem = Problem(**told["problem"])
    torch.set_num_threads(problem.threads)
    train, judged = make_rows(problem)
    contender = (CONTENDERS | COMPILED)[told["name"]](problem, train)
    print(json.dumps({"parameters": contender.parameters}), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "train" in order:
            started, spent = time.perf_counter(), time.process_time()
            contender.train(order["train"])
            answer = {"seconds": time.perf_counter() - started, "processor": time.process_time() - spent}
        else:
            answer = scores(contender.predict(judged), judged.labels)
        answer["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

"""Seconds until the command line answers and the package is imported, each in a fresh interpreter.

Writes benchmarks/results/startup.json. The variants are interleaved; medians are reported.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from harness import provenance, write_result

REPETITIONS = 7
VERBS = (
    "demo",
    "generate",
    "inspect",
    "convert",
    "fit",
    "validate",
    "test",
    "rollout",
    "evaluate",
)
SCRIPT = str(Path(sys.executable).with_name("pdesurrogates"))


def folders_code():
    """Import of the package with every folder that a user reaches from Python."""
    return "import pdesurrogates as ps\nfor name in ps.__all__: getattr(ps, name)"


def commands():
    return {
        "pdesurrogates --help": [SCRIPT, "--help"],
        "pdesurrogates --version": [SCRIPT, "--version"],
        **{f"pdesurrogates {verb} --help": [SCRIPT, verb, "--help"] for verb in VERBS},
        "import pdesurrogates": [sys.executable, "-c", "import pdesurrogates"],
        "import torch": [sys.executable, "-c", "import torch"],
        "import every folder": [sys.executable, "-c", folders_code()],
    }


def seconds(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main():
    timings = {name: [] for name in commands()}
    for repetition in range(REPETITIONS + 1):
        for name, command in commands().items():
            elapsed = seconds(command)
            if repetition:  # the first round fills the file cache
                timings[name].append(elapsed)
    medians = {name: round(statistics.median(values), 4) for name, values in timings.items()}
    torch_seconds = medians["import torch"]
    results = {
        **provenance(),
        "median_seconds": medians,
        "slowest_command": max(v for k, v in medians.items() if k.startswith("pdesurrogates")),
        "import_over_torch": round(medians["import pdesurrogates"] / torch_seconds, 3),
        "repetitions": REPETITIONS,
    }
    path = write_result("startup", results)
    for name, value in medians.items():
        print(f"{value:8.3f} s  {name}")
    print(f"slowest command {results['slowest_command']:.3f} s (limit 0.3 s), written to {path}")


if __name__ == "__main__":
    main()

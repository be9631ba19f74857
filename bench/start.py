"""Seconds and memory from the shell to the first page read, each in a process of its own.

By ONNX the first time, when other models' files must be made, by ONNX later, and by Keras on TensorFlow.

    python bench/start.py [PAGE] [--rec NAME] [--repeats N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAGE = Path(__file__).parents[1] / "samples" / "receipt.jpg"


def run(page: Path, rec: str, runtime: str, cache: str) -> tuple[float, float]:
    """Seconds of wall time and MiB of peak memory of one `zoo read`."""
    code = "import resource, sys; from zoo.cli import main; status = main(sys.argv[1:]); "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr); sys.exit(status)"
    chosen = ["--recognition", rec] if rec else []
    command = [sys.executable, "-c", code, "read", str(page), "--runtime", runtime, *chosen]
    started = time.perf_counter()
    environment = os.environ | {"OCRZOO_CACHE": cache}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stderr)
    return seconds, float(done.stderr.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("page", nargs="?", type=Path, default=PAGE)
    parser.add_argument("--rec", default="", help="recognizer; default: that of zoo read")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    repeats = options.repeats
    print(f"zoo read {options.page.name}: best of {repeats} processes (first: one), {os.cpu_count()} cores")
    print(f"{'start':<22}{'seconds':>9}{'MiB':>8}", flush=True)
    ways = (("ONNX, first", "onnxruntime", 1), ("ONNX, later", "onnxruntime", repeats))
    with tempfile.TemporaryDirectory() as cache:
        for name, runtime, count in (*ways, ("Keras on TensorFlow", "tensorflow", repeats)):
            figures = [run(options.page, options.rec, runtime, cache) for _ in range(count)]
            print(f"{name:<22}{min(f[0] for f in figures):>9.2f}{max(f[1] for f in figures):>8.0f}", flush=True)


if __name__ == "__main__":
    main()

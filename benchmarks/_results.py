"""Where benchmark tables go, and what must stand beside every figure."""

from __future__ import annotations

import os
import platform
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import torch

RESULTS = Path(__file__).parent / "results"


def write(table: pd.DataFrame, name: str, seconds: float) -> None:
    """Write a table as CSV under three lines on how it came about (read with comment="#")."""
    command = " ".join(["python -m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, {device}"
    RESULTS.mkdir(exist_ok=True)
    path, temporary = RESULTS / f"{name}.csv", RESULTS / f".{name}.csv"
    with temporary.open("w") as file:
        file.write(f"# {command}\n# {machine}; torch {torch.__version__}\n")
        file.write(f"# {date.today()}, {seconds:.0f} s\n")
        table.to_csv(file, index=False)
    os.replace(temporary, path)

"""What `import tether` costs, in CPU time over that of a bare interpreter, and how many modules it loads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from rows import Row, cpu_ms, median

ROUNDS = 11
TASK = "import tether; tether.AutoGPTTask(goal='x')"


def rows() -> Iterator[Row]:
    """Median over fresh interpreters, taken in turns so that a busy machine slows both alike."""
    bare, imported, task = [], [], []
    for _ in range(ROUNDS):
        bare.append(cpu_ms("pass"))
        imported.append(cpu_ms("import tether"))
        task.append(cpu_ms(TASK))
    yield Row(name="import tether", value=median(imported) - median(bare), unit="ms CPU", goal=150)
    yield Row(name="import tether and make a task", value=median(task) - median(bare), unit="ms CPU", goal=150)
    count = subprocess.run(
        [sys.executable, "-c", f"{TASK}; import sys; print(len(sys.modules))"], capture_output=True, check=True
    )
    yield Row(name="modules loaded by then", value=int(count.stdout), unit="modules")

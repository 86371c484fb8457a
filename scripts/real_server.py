"""llama.cpp's OpenAI-compatible server with one model: `real_server.py MODEL PORT CONTEXT_TOKENS`; real_model.py starts it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import xllamacpp


def main(model: str, port: str, context: str) -> None:
    """Serve on loopback until SIGTERM, or until whoever started it is gone."""
    parent = os.getppid()
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {Path(model).stem}
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.n_ctx = int(context)
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 2
    params.use_jinja = True
    params.warmup = True
    server = xllamacpp.Server(params)
    print("serving", server.listening_address, flush=True)
    while signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, 1.0) is None and os.getppid() == parent:
        pass


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(*sys.argv[1:])
    os._exit(0)  # its threads do not end by themselves

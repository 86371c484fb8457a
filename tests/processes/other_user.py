"""A supervisor as another user, run as a program: starts one attempt of each kind and prints what came of it as JSON.

Arguments: isolation. Standard library and tether only, for whatever interpreter runs it.
"""

from __future__ import annotations

import json
import sys

from stage import stage, until
from tether.worker import killing
from tether.worker.zygote import Failed, Ready


def main(isolation: str) -> None:
    with stage(isolation, entry="tether.testing.misbehave:daemon_busy") as acting:
        said = acting.message((Ready, Failed))
        if isinstance(said, Failed):
            print(json.dumps({"field": said.field, "problem": said.problem, "remedy": said.remedy}))
            return
        attempt = acting.start()
        attempt.prints("misbehaving: daemon_busy")
        up = attempt.hears("up")
        asked = killing.ask_stacks(attempt.pid)
        call = attempt.tool("tether.testing.misbehave:tool", kind="daemon")
        attempt.hears("tool_started")
        call.kill()
        attempt.hears("tool_exited")
        attempt.kill()
        acting.gone(attempt)
        until(lambda: not acting.left(), lambda: f"the end of {acting.left()}", 5)
        print(json.dumps({"walls": up["walls"], "uids": said.uids, "asked": len(asked), "left": acting.left()}))


main(*sys.argv[1:])

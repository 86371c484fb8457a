"""Agents that ask their model again and again: one that checkpoints each answer, and a program that knows nothing of Tether."""

import json
import os
import sys
from typing import Any

from openai import OpenAI


def asking(task: Any, link: Any) -> list[str]:
    """One call in each step; its answer is checkpointed before the next."""
    client = OpenAI()
    state = link.state or {"answers": []}
    while len(state["answers"]) < task.input["steps"]:
        link.step()
        messages: Any = [{"role": "user", "content": f"{task.goal} {len(state['answers'])}"}]
        answer = client.chat.completions.create(model="default", messages=messages)
        state = {"answers": [*state["answers"], str(answer.choices[0].message.content)]}
        link.checkpoint(state)
    return state["answers"]


def main() -> None:
    """The same as a program."""
    client = OpenAI()
    answers: list[str] = []
    while len(answers) < int(sys.argv[2]):
        messages: Any = [{"role": "user", "content": f"{sys.argv[1]} {len(answers)}"}]
        answers.append(str(client.chat.completions.create(model="default", messages=messages).choices[0].message.content))
    with open(os.path.join(os.environ["TETHER_WORKSPACE"], "result.json"), "w") as result:
        json.dump(answers, result)


if __name__ == "__main__":
    main()

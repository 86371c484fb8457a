"""A program that knows nothing of Tether: the official client, state in memory only, lost on any error."""

import os
import sys
from typing import Any

from openai import OpenAI

client = OpenAI()
goal = sys.argv[1] if "--wander" not in sys.argv else f"{sys.argv[1]} {os.getpid()} {os.times().elapsed}"
messages: Any = [{"role": "user", "content": goal}]
steps = int(sys.argv[2])
streamed = "--stream" in sys.argv
for number in range(steps):
    answer: Any = client.chat.completions.create(model="default", messages=messages, stream=streamed)
    if streamed:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    else:
        text = answer.choices[0].message.content
    with open(os.path.join(os.environ["TETHER_WORKSPACE"], "notes.txt"), "a") as notes:
        notes.write(f"{text}\n")
    if number < steps - 1:
        print("said", text, flush=True)
    messages += [{"role": "assistant", "content": text}, {"role": "user", "content": f"go on {number}"}]
with open(os.path.join(os.environ["TETHER_WORKSPACE"], "result.json"), "w") as result:
    result.write(f'"{messages[-2]["content"]}"')

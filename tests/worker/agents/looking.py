"""A program that knows nothing of Tether: the official client, a tool of its own, a loop until the model has no more wishes."""

import json
import sys
import time

from openai import OpenAI

client = OpenAI()
goal, way = sys.argv[1], sys.argv[2]
messages = [{"role": "user", "content": goal}]
tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
looks = 0
while True:
    said = client.chat.completions.create(model="default", messages=messages, tools=tools).choices[0].message
    messages.append(said.model_dump(exclude_none=True))
    if not said.tool_calls:
        break
    for call in said.tool_calls:
        looks += 1
        if way == "hangs" and looks == 2:
            time.sleep(1000)
        if way == "breaks" and looks == 3:
            sys.exit("it broke")
        result = (
            "Error: fog"
            if way == "fails" and looks == 1
            else f"seen {looks}"
            if way not in ("circles", "breaks")
            else "nothing new"
        )
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
print(json.dumps({"looks": looks, "said": said.content}))

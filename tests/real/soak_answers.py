"""What there is in an answer of each surface of the server."""

import json


def events_of(answer):
    """The objects of a stream of either kind."""
    for line in answer:
        line = line.strip().removeprefix(b"data:").strip()
        if line.startswith(b"{"):
            yield json.loads(line)


def whole(surface, text):
    told = json.loads(text)
    match surface:
        case "chat":
            said = told["choices"][0]["message"]["content"]
        case "messages":
            said = "".join(part["text"] for part in told["content"])
        case "responses":
            said = "".join(part["text"] for item in told["output"] for part in item["content"])
    return said, told["id"]


def streamed(surface, text):
    """What was said, None when the stream has no good end; and the answer's name."""
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    events = [json.loads(line) for line in data if line != "[DONE]"]
    match surface:
        case "chat":
            over = data[-1] == "[DONE]" and any(each.get("choices", [{}])[0].get("finish_reason") for each in events)
            said = [each["choices"][0]["delta"].get("content", "") for each in events if each.get("choices")]
            name = events[0].get("id")
        case "messages":
            over = events[-1]["type"] == "message_stop"
            said = [each["delta"].get("text", "") for each in events if each["type"] == "content_block_delta"]
            name = None
        case "responses":
            over = events[-1]["type"] == "response.completed"
            said = [each["delta"] for each in events if each["type"] == "response.output_text.delta"]
            name = events[-1].get("response", {}).get("id")
    return ("".join(said) if over else None), name

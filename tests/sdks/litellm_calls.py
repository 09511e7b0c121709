"""Use LiteLLM with chat completions, Responses and Messages; prints the results as one line of JSON."""

import json
import os

import litellm
from litellm import exceptions

litellm.suppress_debug_info = True
litellm.telemetry = False
base, edge, model = os.environ["BASE_URL"], os.environ["EDGE"], os.environ["MODEL"]
messages = [{"role": "user", "content": "Hi"}]
schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
tools = [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": schema}}]


def ask(key=os.environ["API_KEY"], provider="openai", **fields):
    url = base if provider == "openai" else edge
    given = {
        "model": f"{provider}/{model}",
        "messages": messages,
        "api_base": url,
        "api_key": key,
        "max_retries": 0,
        "num_retries": 0,
    }
    return litellm.completion(**{**given, **fields})


found = {}
for provider in ("openai", "anthropic"):
    whole = ask(provider=provider)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in ask(provider=provider, stream=True))
    call = ask(provider=provider, tools=tools).choices[0].message.tool_calls[0]
    turns = [
        *messages,
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": "Rain in Bonn."},
    ]
    answer = ask(provider=provider, tools=tools, messages=turns)
    found[provider] = {
        "text": whole.choices[0].message.content,
        "total": whole.usage.total_tokens,
        "streamed": streamed,
        "call": [call.id, call.function.name, call.function.arguments],
        "answer": answer.choices[0].message.content,
    }
response = litellm.responses(model=f"openai/{model}", input="Hi", api_base=base, api_key=os.environ["API_KEY"])
found["responses"] = response.output[0].content[0].text

found["errors"] = {}
for name, fields in {
    "wrongKey": {"key": "yout-wrong"},
    "noCredits": {"key": os.environ["POOR_KEY"]},
    "noModel": {"model": "openai/nobody"},
    "noCreditsMessages": {"key": os.environ["POOR_KEY"], "provider": "anthropic"},
}.items():
    try:
        ask(**fields)
    except (exceptions.APIError, exceptions.AuthenticationError, exceptions.NotFoundError, exceptions.BadRequestError) as error:
        found["errors"][name] = [type(error).__name__, error.status_code]
print(json.dumps(found))

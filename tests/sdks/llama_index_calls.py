"""Use LlamaIndex with chat completions and legacy completions; prints the results as one line of JSON."""

import json
import os

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from openai import APIStatusError


def make(key=os.environ["API_KEY"], **fields):
    given = {"model": os.environ["MODEL"], "api_base": os.environ["BASE_URL"], "api_key": key, "max_retries": 0, "timeout": 60}
    return OpenAILike(**given, **fields)


def weather(city: str) -> str:
    """The weather of a city."""
    return f"Rain in {city}."


hi = [ChatMessage(role="user", content="Hi")]
chat = make(is_chat_model=True, is_function_calling_model=True)
older = make(is_chat_model=False)
found = {
    "chat": chat.chat(hi).message.content,
    "streamed": "".join(piece.delta or "" for piece in chat.stream_chat(hi)),
    "older": older.complete("Hi").text,
    "olderStreamed": "".join(piece.delta or "" for piece in older.stream_complete("Hi")),
}
tool = FunctionTool.from_defaults(weather)
called = chat.chat_with_tools([tool], chat_history=hi)
[call] = chat.get_tool_calls_from_response(called)
found["call"] = [call.tool_id, call.tool_name, call.tool_kwargs]
result = ChatMessage(role="tool", content="Rain in Bonn.", additional_kwargs={"tool_call_id": call.tool_id})
found["answer"] = chat.chat_with_tools([tool], chat_history=[*hi, called.message, result]).message.content
found["errors"] = []
for key in ("yout-wrong", os.environ["POOR_KEY"]):
    try:
        make(key, is_chat_model=True).chat(hi)
    except APIStatusError as error:
        found["errors"].append(error.status_code)
print(json.dumps(found))

"""Use instructor in each of its modes; prints the results as one line of JSON."""

import json
import os

import instructor
from openai import OpenAI
from pydantic import BaseModel


class City(BaseModel):
    city: str


client = OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], max_retries=0)
messages = [{"role": "user", "content": "Hi"}]
found = {}
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON, instructor.Mode.JSON_SCHEMA):
    patched = instructor.from_openai(client, mode=mode)
    made = patched.chat.completions.create(model=os.environ["MODEL"], messages=messages, response_model=City, max_retries=0)
    found[mode.name] = made.model_dump()
print(json.dumps(found))

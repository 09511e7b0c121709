// Reads the answer of a chat completion, streamed or not, into one value. Pure.

// The answer so far. `toolCalls` are `{name, arguments}`; `yout` is the cost, once it is known.
export function emptyAnswer() {
  return { text: "", reasoning: "", toolCalls: [], finishReason: null, usage: null, yout: null, error: null };
}

// Add a whole completion, or one chunk of a stream, to the answer.
export function addDocument(answer, document) {
  for (const choice of document.choices ?? []) {
    if (choice.index) continue; // the playground asks for one choice
    const part = choice.delta ?? choice.message ?? {};
    answer.text += part.content ?? part.refusal ?? "";
    answer.reasoning += part.reasoning_content ?? part.reasoning ?? "";
    (part.tool_calls ?? []).forEach((call, position) => addToolCall(answer, call, call.index ?? position));
    answer.finishReason = choice.finish_reason ?? answer.finishReason;
  }
  answer.usage = document.usage ?? answer.usage;
  answer.yout = document.yout ?? answer.yout;
  answer.error = document.error ?? answer.error;
}

function addToolCall(answer, call, index) {
  const known = (answer.toolCalls[index] ??= { name: "", arguments: "" });
  known.name += call.function?.name ?? "";
  known.arguments += call.function?.arguments ?? "";
}

// Yield the complete lines of a response's text as they arrive, and a last line without its end.
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const found = (rest + value).split("\n");
    rest = found.pop();
    yield* found;
  }
  if (rest) yield rest;
}

// Return the JSON of a `data:` line, or null for other lines and for the end of the stream.
export function eventOf(line) {
  if (!line.startsWith("data:")) return null;
  const data = line.slice(5).trim();
  return data === "[DONE]" ? null : JSON.parse(data);
}

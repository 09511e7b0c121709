// What a user of LangChain for JavaScript gets by chats and by Responses, as one line of JSON.
import { HumanMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai';
import { z } from 'zod';

const { BASE_URL: baseURL, API_KEY, POOR_KEY: poorKey, MODEL: model, VECTORS: vectors, RESPONSES: responses } = process.env;
const make = (apiKey) =>
  new ChatOpenAI({ model, apiKey, maxRetries: 0, useResponsesApi: responses === 'yes', configuration: { baseURL } });
const chat = make(API_KEY);
const city = z.object({ city: z.string() });
const weather = tool(async ({ city }) => `Rain in ${city}.`, { name: 'weather', description: 'd', schema: city });
const found = {};

const whole = await chat.invoke('Hi');
found.whole = { text: whole.text, usage: whole.usage_metadata };
found.streamed = '';
for await (const piece of await chat.stream('Hi')) found.streamed += piece.text;

const bound = chat.bindTools([weather]);
const asked = [new HumanMessage('Hi')];
const called = await bound.invoke(asked);
found.calls = called.tool_calls;
found.answer = (await bound.invoke([...asked, called, await weather.invoke(called.tool_calls[0])])).text;

found.object = await chat.withStructuredOutput(city, { method: 'jsonSchema' }).invoke('Hi');
if (vectors) {
  const embeddings = new OpenAIEmbeddings({ model: vectors, apiKey: API_KEY, configuration: { baseURL } });
  found.vectors = await embeddings.embedDocuments(['a', 'b']);
}

async function attempt(name, work) {
  try {
    await work();
    found[name] = null;
  } catch (error) {
    found[name] = error.status ?? null;
  }
}
await attempt('wrongKey', () => make('yout-wrong').invoke('Hi'));
await attempt('noCredits', () => make(poorKey).invoke('Hi'));

console.log(JSON.stringify(found));

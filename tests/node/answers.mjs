// What a user of the official SDK gets from good calls, as one line of JSON.
import OpenAI from 'openai';

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: model } = process.env;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: 'user', content: 'Hi' }];
const found = {};

found.listed = [];
for await (const each of client.models.list()) if (each.id === model) found.listed.push(each);
found.retrieved = await client.models.retrieve(model);

found.chat = await client.chat.completions.create({ model, messages });

found.chunks = [];
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) found.chunks.push(chunk);

const options = { stream_options: { include_usage: true } };
found.counted = [];
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true, ...options })) {
  found.counted.push(chunk);
}

const helper = client.chat.completions.stream({ model, messages, ...options });
found.helperText = '';
helper.on('content', (delta) => (found.helperText += delta));
found.final = await helper.finalChatCompletion();
found.finalUsage = await helper.totalUsage();

const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: {} } } }];
found.tools = await client.chat.completions.stream({ model, messages, tools }).finalMessage();

const { data, response, request_id } = await client.chat.completions.create({ model, messages }).withResponse();
found.raw = { id: data.id, status: response.status, requestId: request_id, headers: Object.fromEntries(response.headers) };

console.log(JSON.stringify(found));

// What a user of Anthropic's SDK gets on the pool, as one line of JSON.
import Anthropic from '@anthropic-ai/sdk';

const { EDGE: baseURL, API_KEY: apiKey, POOR_KEY: poorKey, MODEL: model } = process.env;
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: 'user', content: 'Hi' }];
const ask = { model, max_tokens: 100, messages };
const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = [{ name: 'weather', description: 'd', input_schema: schema }];
const found = {};

found.whole = await client.messages.create(ask);
const helper = client.messages.stream(ask);
found.text = '';
helper.on('text', (delta) => (found.text += delta));
found.final = await helper.finalMessage();

const called = await client.messages.create({ ...ask, tools });
found.use = called.content[0];
const result = { type: 'tool_result', tool_use_id: called.content[0].id, content: 'Rain in Bonn.' };
const turns = [...messages, { role: 'assistant', content: called.content }, { role: 'user', content: [result] }];
found.answer = await client.messages.create({ ...ask, tools, messages: turns });
found.streamedUse = (await client.messages.stream({ ...ask, tools }).finalMessage()).content[0];
found.count = await client.messages.countTokens({ model, messages });

async function attempt(name, work) {
  try {
    await work();
    found[name] = null;
  } catch (error) {
    found[name] = { kind: error.constructor.name, status: error.status ?? null, type: error.error?.error?.type ?? null };
  }
}
await attempt('wrongKey', () => new Anthropic({ baseURL, apiKey: 'yout-wrong', maxRetries: 0 }).messages.create(ask));
await attempt('noCredits', () => new Anthropic({ baseURL, apiKey: poorKey, maxRetries: 0 }).messages.create(ask));
await attempt('noModel', () => client.messages.create({ ...ask, model: 'nobody' }));
await attempt('breaksOff', () => client.messages.stream(ask).finalMessage());

console.log(JSON.stringify(found));

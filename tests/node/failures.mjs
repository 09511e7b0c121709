// How failed calls look to a user of the official SDK, as one line of JSON: class, status, code, param, type, request id.
import OpenAI from 'openai';

const { BASE_URL: baseURL, API_KEY: apiKey, POOR_KEY: poorKey, MODEL: model } = process.env;
const messages = [{ role: 'user', content: 'Hi' }];
const found = {};
let sent = 0;

async function counted(url, options) {
  sent += 1;
  return fetch(url, options);
}

async function attempt(name, ask) {
  sent = 0;
  try {
    await ask();
    found[name] = null;
  } catch (error) {
    const { status = null, code = null, param = null, type = null, requestID = null } = error;
    const kind = error.constructor.name;
    found[name] = { kind, isApiError: error instanceof OpenAI.APIError, status, code, param, type, requestID, sent };
  }
}

const create = (fields, key = apiKey, maxRetries = 0) =>
  new OpenAI({ baseURL, apiKey: key, maxRetries, fetch: counted }).chat.completions.create({ model, messages, ...fields });

await attempt('wrongKey', () => create({}, 'yout-wrong'));
await attempt('noCredits', () => create({}, poorKey, 2));
await attempt('noCreditsStreaming', () => create({ stream: true }, poorKey, 2));
await attempt('noModel', () => create({ model: 'nobody' }));
await attempt('badField', () => create({ temperature: 9 }));
await attempt('tooLong', () => create({ stream: true }));
await attempt('providerFails', () => create({}));
await attempt('breaksOff', async () => {
  for await (const chunk of await create({ stream: true })) found.part = (found.part ?? '') + (chunk.choices[0].delta.content ?? '');
});
await attempt('helperBreaksOff', () =>
  new OpenAI({ baseURL, apiKey, maxRetries: 0 }).chat.completions.stream({ model, messages }).finalChatCompletion(),
);

console.log(JSON.stringify(found));

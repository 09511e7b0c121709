// A tool loop of the Vercel AI SDK's default provider, whole and streamed, with each setting of `store`; as one line of JSON.
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: id, STORE: store } = process.env;

const providerOptions = store ? { openai: { store: store === 'true' } } : undefined;
const city = z.object({ city: z.string() });
const weather = tool({ description: 'd', inputSchema: city, execute: async ({ city }) => `Rain in ${city}.` });
const model = createOpenAI({ baseURL, apiKey })(id);
const common = { model, providerOptions, maxRetries: 0, prompt: 'Hi', tools: { weather }, stopWhen: stepCountIs(3) };

async function attempt(work) {
  try {
    return { text: await work() };
  } catch (error) {
    return { status: error.statusCode ?? null, message: error.message };
  }
}
const found = {};
found.whole = await attempt(async () => (await generateText(common)).text);
found.streamed = await attempt(async () => {
  let text = '';
  for await (const part of streamText({ ...common, onError: () => {} }).fullStream) {
    if (part.type === 'error') throw part.error;
    if (part.type === 'text-start') text = '';
    if (part.type === 'text-delta') text += part.text;
  }
  return text;
});
console.log(JSON.stringify(found));

// What a user of the Vercel AI SDK gets with each of its providers, as one line of JSON.
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateObject, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const { BASE_URL: baseURL, API_KEY, POOR_KEY: poorKey, MODEL: id, PROVIDER: provider } = process.env;

function modelOf(apiKey) {
  if (provider === 'responses') return createOpenAI({ baseURL, apiKey })(id);
  if (provider === 'chat') return createOpenAI({ baseURL, apiKey }).chat(id);
  if (provider === 'messages') return createAnthropic({ baseURL, apiKey })(id);
  return createOpenAICompatible({ name: 'yout', baseURL, apiKey, supportsStructuredOutputs: true })(id);
}
const model = modelOf(API_KEY);
// Nothing is stored here, so that every step sends its items in full.
const common = { model, maxRetries: 0, providerOptions: { openai: { store: false } } };
const city = z.object({ city: z.string() });
const weather = tool({ description: 'd', inputSchema: city, execute: async ({ city }) => `Rain in ${city}.` });
const found = {};

const whole = await generateText({ ...common, prompt: 'Hi' });
found.whole = { text: whole.text, finish: whole.finishReason, usage: whole.usage };
const stream = streamText({ ...common, prompt: 'Hi' });
found.streamed = '';
for await (const piece of stream.textStream) found.streamed += piece;
found.streamedFinish = await stream.finishReason;

const steps = await generateText({ ...common, prompt: 'Hi', tools: { weather }, stopWhen: stepCountIs(3) });
found.steps = { text: steps.text, count: steps.steps.length };
const streamedSteps = streamText({ ...common, prompt: 'Hi', tools: { weather }, stopWhen: stepCountIs(3) });
found.streamedSteps = '';
for await (const piece of streamedSteps.textStream) found.streamedSteps += piece;

found.object = (await generateObject({ ...common, prompt: 'Hi', schema: city })).object;

async function attempt(name, work) {
  try {
    await work();
    found[name] = null;
  } catch (error) {
    found[name] = { name: error.name, status: error.statusCode ?? null, retryable: error.isRetryable ?? null };
  }
}
await attempt('wrongKey', () => generateText({ ...common, model: modelOf('yout-wrong'), prompt: 'Hi' }));
await attempt('noCredits', () => generateText({ ...common, model: modelOf(poorKey), prompt: 'Hi' }));
const broken = streamText({ ...common, prompt: 'Hi', onError: () => {} });
found.parts = [];
for await (const part of broken.fullStream) if (part.type === 'error' || part.type === 'text-delta') found.parts.push(part.type);

console.log(JSON.stringify(found));

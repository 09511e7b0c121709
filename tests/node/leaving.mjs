// Leave a stream after its first text, in both ways that the official SDK knows.
import OpenAI from 'openai';

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: model } = process.env;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: 'user', content: 'Hi' }];

for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
  if (chunk.choices[0].delta.content) break;
}

const helper = client.chat.completions.stream({ model, messages });
helper.on('content', () => helper.abort());
try {
  await helper.finalChatCompletion();
  console.log('it went on');
} catch (error) {
  console.log(error.constructor.name);
}

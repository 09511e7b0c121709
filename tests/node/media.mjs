// What a user of the official SDK gets from pictures, speech and films, as one line of JSON.
import OpenAI from 'openai';

const { BASE_URL: baseURL, API_KEY: apiKey, PICTURE, VOICE, FILM } = process.env;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const encoded = async (response) => Buffer.from(await response.arrayBuffer()).toString('base64');
const found = {};

found.pictures = await client.images.generate({ model: PICTURE, prompt: 'A lighthouse', n: 2 });

const sound = await client.audio.speech.create({ model: VOICE, voice: 'nova', input: 'Good evening.' });
found.sound = { data: await encoded(sound), type: sound.headers.get('content-type'), charged: sound.headers.get('x-yout-credits-charged') };

let film = await client.videos.create({ model: FILM, prompt: 'A lighthouse', seconds: '4' });
while (film.status === 'queued' || film.status === 'in_progress') {
  await new Promise((resolve) => setTimeout(resolve, 200));
  film = await client.videos.retrieve(film.id);
}
found.film = { ...film, data: await encoded(await client.videos.downloadContent(film.id)) };

try {
  await client.images.generate({ model: PICTURE, prompt: 'A lighthouse', n: 50 });
} catch (error) {
  found.error = { name: error.constructor.name, status: error.status, code: error.code, param: error.param };
}

console.log(JSON.stringify(found));

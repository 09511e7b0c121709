// The results of image, speech and video calls with the official SDK, as one line of JSON.
import OpenAI from 'openai';

const { BASE_URL: baseURL, API_KEY: apiKey, IMAGE_MODEL, SPEECH_MODEL, VIDEO_MODEL } = process.env;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const encoded = async (response) => Buffer.from(await response.arrayBuffer()).toString('base64');
const found = {};

found.images = await client.images.generate({ model: IMAGE_MODEL, prompt: 'A lighthouse', n: 2 });

const sound = await client.audio.speech.create({ model: SPEECH_MODEL, voice: 'nova', input: 'Good evening.' });
found.sound = { data: await encoded(sound), type: sound.headers.get('content-type'), charged: sound.headers.get('x-yout-credits-charged') };

let video = await client.videos.create({ model: VIDEO_MODEL, prompt: 'A lighthouse', seconds: '4' });
while (video.status === 'queued' || video.status === 'in_progress') {
  await new Promise((resolve) => setTimeout(resolve, 200));
  video = await client.videos.retrieve(video.id);
}
found.video = { ...video, data: await encoded(await client.videos.downloadContent(video.id)) };

try {
  await client.images.generate({ model: IMAGE_MODEL, prompt: 'A lighthouse', n: 50 });
} catch (error) {
  found.error = { name: error.constructor.name, status: error.status, code: error.code, param: error.param };
}

console.log(JSON.stringify(found));

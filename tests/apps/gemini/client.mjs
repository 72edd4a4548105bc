// Calls of a model with Node's own https module, over one connection. Arguments: the base URL, how many.
// Waits for a line on its input before it begins.
import https from 'node:https';
import readline from 'node:readline';

const [base, times] = process.argv.slice(2);
const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
const path = '/v1beta/models/gemini-2.5-flash:generateContent';
const prompt = JSON.stringify({ noise: 60_000, prompt: 9, output: 4 });
const body = JSON.stringify({ contents: [{ parts: [{ text: prompt }] }] });
const headers = {
  'Content-Type': 'application/json',
  'Accept-Encoding': 'gzip',
  'X-Goog-Api-Key': 'AIza-a-key-of-the-tests',
};

const call = () => new Promise((resolve, reject) => {
  const request = https.request(base + path, { method: 'POST', agent, headers }, (response) => {
    response.on('data', () => {}).on('end', resolve).on('error', reject);
  });
  request.on('error', reject).end(body);
});

console.log('ready');
const input = readline.createInterface({ input: process.stdin });
await new Promise((resolve) => { input.once('line', resolve); });
for (let index = 0; index < Number(times); index += 1) await call();
agent.destroy();
input.close();

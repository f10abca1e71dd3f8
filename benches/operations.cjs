// Runs one operation of sharp on raw pixels per line of its input and answers with the milliseconds that it took: the other half
// of operations.py. One thread, no cache.
const fs = require('fs');
const readline = require('readline');
const sharp = require('sharp');

sharp.concurrency(1);
sharp.cache(false);

const [path, width, height] = process.argv.slice(2);
const raw = { raw: { width: +width, height: +height, channels: 3 } };
const pixels = fs.readFileSync(path);
const star = Buffer.from(`<svg width="300" height="300"><circle cx="150" cy="150" r="140" fill="orange"/></svg>`);

const ready = sharp(star).png().toBuffer().then((overlay) => ({ overlay }));

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const { overlay } = await ready;
  const image = sharp(pixels, raw);
  const operation = new Function('image', 'overlay', 'width', 'height', `return ${line}`);
  const started = process.hrtime.bigint();
  await operation(image, overlay, +width, +height).raw().toBuffer();
  console.log(Number(process.hrtime.bigint() - started) / 1e6);
});

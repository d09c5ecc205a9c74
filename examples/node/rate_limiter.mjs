// Rate limits: exact within a region; all regions count together as soon as they have heard of each other.

import assert from 'node:assert/strict';
import { defineScript } from 'redis';
import { all, connect, unique, untilAll } from './regions.mjs';

const LIMIT = 10;
const TRIES = 25; // in each region

const count = defineScript({
  NUMBER_OF_KEYS: 1,
  SCRIPT: `
    local count = redis.call('INCR', KEYS[1])
    if count == 1 then
        redis.call('EXPIRE', KEYS[1], ARGV[1])
    end
    return count`,
  parseCommand(parser, key, seconds) {
    parser.pushKey(key);
    parser.push(String(seconds));
  },
  transformReply: (reply) => reply,
});

const regions = await connect({ scripts: { count } });
const [eu, us, ap] = regions;
const user = unique();

/** In a pipeline: the window begins anew with every request. */
async function allowed(client, key, seconds) {
  const [count] = await client.multi().incr(key).expire(key, seconds).exec();
  return count <= LIMIT;
}

/** In a script: the window begins with the first request. */
const allowedScript = async (client, key, seconds) => (await client.count(key, seconds)) <= LIMIT;

for (const ask of [allowed, allowedScript]) {
  const many = async (region, key, seconds) =>
    (await Promise.all(Array.from({ length: TRIES }, () => ask(region, key, seconds)))).filter(Boolean).length;

  // Within a region, no more than the limit pass, however many ask at once.
  const key = `limit:${user}:${ask.name}`;
  assert.equal(await many(eu, key, 60), LIMIT);

  // Other regions go by what they have heard of: at worst each lets its own share pass, never more.
  for (const region of [us, ap]) {
    assert.ok((await many(region, key, 60)) <= LIMIT);
  }
  const total = String(TRIES * regions.length);
  await untilAll(regions, 'every request counted once', async (region) => (await region.get(key)) === total);
  assert.ok(await all(regions, async (region) => !(await ask(region, key, 60))), 'over the limit everywhere');
  for (const region of regions) {
    const left = await region.ttl(key);
    assert.ok(left > 0 && left <= 60, `not for ever: ${left} s`);
  }

  // After the window, in every region, requests pass again.
  const short = `${key}:short`;
  await Promise.all(regions.map((region) => many(region, short, 1)));
  await untilAll(regions, 'the window is over', async (region) => !(await region.exists(short)));
  assert.ok(await all(regions, (region) => ask(region, short, 60)), 'requests pass again');
}
console.log(`no region let more than ${LIMIT} requests pass`);
await Promise.all(regions.map((client) => client.close()));

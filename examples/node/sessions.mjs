// Sessions as hashes with a sliding time to live: alive in every region for as long as one of them uses them.

import assert from 'node:assert/strict';
import { defineScript } from 'redis';
import { all, connect, unique, until, untilAll } from './regions.mjs';

// For how long a session lives that nobody uses.
const SECONDS = Number(process.env.SECONDS ?? 3);

// Reads a session and slides its deadline, in one script.
const slide = defineScript({
  NUMBER_OF_KEYS: 1,
  SCRIPT: `
    local session = redis.call('HGETALL', KEYS[1])
    if #session > 0 then
        redis.call('EXPIRE', KEYS[1], ARGV[1])
    end
    return session`,
  parseCommand(parser, key, seconds) {
    parser.pushKey(key);
    parser.push(String(seconds));
  },
  transformReply: (reply) => reply,
});

const regions = await connect({ scripts: { slide } });
const [eu, us, ap] = regions;
const key = (session) => `session:${session}`;

async function logIn(client, user) {
  const session = unique();
  await client.multi().hSet(key(session), { user, pages: 0 }).expire(key(session), SECONDS).exec();
  return session;
}

/** The same in two plain commands. */
async function use(client, session) {
  const data = await client.hGetAll(key(session));
  if (Object.keys(data).length > 0) await client.expire(key(session), SECONDS);
  return data;
}

const [ann, bob, eve] = await Promise.all([logIn(eu, 'ann'), logIn(us, 'bob'), logIn(eu, 'eve')]);

let clicks = 0;
async function click() {
  assert.equal((await use(eu, ann)).user, 'ann', "ann's session died in eu");
  assert.ok((await us.slide(key(bob), SECONDS)).length > 0, "bob's session died in us");
  clicks = await eu.hIncrBy(key(ann), 'pages', 1);
}

// Everyone who waits for a page goes on clicking, each in one region.
await until('both known in every region', async () => {
  await click();
  return all(regions, async (region) => (await region.hGet(key(ann), 'user')) && (await region.hGet(key(bob), 'user')));
});

// So they do until the time of Eve, who does not, has passed everywhere.
await until("eve's session ends, the others live", async () => {
  await click();
  for (const region of regions) {
    assert.equal(await region.hGet(key(ann), 'user'), 'ann', "ann's session died in a region that only reads it");
    assert.equal(await region.hGet(key(bob), 'user'), 'bob', "bob's session died in a region that only reads it");
  }
  return all(regions, async (region) => !(await region.exists(key(eve))));
});

// Ann travels: the next region goes on where the last one was.
await until("ann's clicks in ap", async () => (await use(eu, ann)) && (await use(ap, ann)).pages === String(clicks));
for (const region of regions) {
  const left = await region.pTTL(key(ann));
  assert.ok(left > 0 && left <= SECONDS * 1000, `${left} ms left`);
}

// Logging out anywhere ends it everywhere; a session that nobody uses any more ends by itself.
assert.equal(await ap.del(key(ann)), 1);
await untilAll(regions, 'ann logged out', async (region) => !(await region.exists(key(ann))));
await untilAll(regions, "bob's session ends", async (region) => !(await region.exists(key(bob))));
console.log(`sessions lived through ${clicks} clicks and ended in every region`);
await Promise.all(regions.map((client) => client.close()));

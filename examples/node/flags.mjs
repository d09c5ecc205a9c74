// Feature flags as sets, read from the client's own memory, where the server says what has changed.

import assert from 'node:assert/strict';
import { connect, unique, until, untilAll } from './regions.mjs';

const cache = { ttl: 0, maxEntries: 0, evictPolicy: 'LRU', recordStats: true };
const regions = await connect({ RESP: 3, clientSideCache: cache });
const [eu, us, ap] = regions;
const app = unique();
const [ENABLED, BETA] = [`flags:${app}`, `flags:${app}:beta`];

// Two teams switch flags on at once, each in its region.
await Promise.all([
  eu.sAdd(ENABLED, ['dark-mode', 'new-search']),
  us.sAdd(ENABLED, ['fast-checkout', 'new-search']),
  ap.sAdd(BETA, ['user:1', 'user:2']),
]);
await untilAll(regions, 'every flag in every region', async (region) => (await region.sMembers(ENABLED)).length === 3);
await untilAll(regions, 'the beta users', async (region) => (await region.sMembers(BETA)).length === 2);

// Asked once, a client answers from its memory; the rest of the application never waits for Redis.
await Promise.all(regions.map((region) => region.sIsMember(ENABLED, 'new-search')));
assert.equal(await ap.sIsMember(ENABLED, 'new-search'), 1);

// Switched off in one region, off in all, although the old answer was remembered.
assert.equal(await us.sRem(ENABLED, 'new-search'), 1);
await untilAll(regions, 'the flag off everywhere', async (region) => !(await region.sIsMember(ENABLED, 'new-search')));

// A user leaves the beta: in no region is anyone in both sets, or in none.
assert.equal(await eu.sMove(BETA, `${BETA}:left`, 'user:2'), 1);
await until('the move', async () => {
  const after = [];
  for (const region of regions) {
    const [before, left] = await region.multi().sIsMember(BETA, 'user:2').sIsMember(`${BETA}:left`, 'user:2').exec();
    assert.equal(Number(before) + Number(left), 1, 'a move is seen whole');
    after.push(left);
  }
  return after.every(Boolean);
});
console.log('flags agree:', (await ap.sMembers(ENABLED)).sort().join(', '));
await Promise.all(regions.map((client) => client.close()));

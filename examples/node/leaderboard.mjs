// Leaderboards: points that add up, and best results that only rise.

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { connect, unique, untilAll } from './regions.mjs';

const PLAYERS = Array.from({ length: 8 }, (_, number) => `player-${number}`);
const ROUNDS = 40; // per region

const regions = await connect();
const [eu, us, ap] = regions;
const game = unique();
const [POINTS, BEST] = [`points:${game}`, `best:${game}`];

// Every player plays in all regions at once.
const points = new Map();
const best = new Map();
const played = [];
for (let round = 0; round < ROUNDS; round++) {
  for (const client of regions) {
    const player = PLAYERS[randomInt(PLAYERS.length)];
    const result = randomInt(1, 1001);
    points.set(player, (points.get(player) ?? 0) + result);
    best.set(player, Math.max(best.get(player) ?? 0, result));
    played.push(
      client
        .multi()
        .zIncrBy(POINTS, result, player)
        .zAdd(BEST, { value: player, score: result }, { comparison: 'GT' })
        .exec(),
    );
  }
}
await Promise.all(played);

const shows = (key, expected) => async (region) => {
  const rows = await region.zRangeWithScores(key, 0, -1, { REV: true });
  const scores = rows.map(({ score }) => score);
  assert.deepEqual(scores, [...scores].sort((a, b) => b - a), 'in order');
  return isDeepStrictEqual(new Map(rows.map(({ value, score }) => [value, score])), expected);
};
await untilAll(regions, 'all points count once', shows(POINTS, points));
await untilAll(regions, 'the best of each', shows(BEST, best));

// The champion turns out to be a cheat.
const [champion] = await eu.zRange(POINTS, 0, 0, { REV: true });
assert.equal(await us.zRem(POINTS, champion), 1);
await untilAll(regions, 'the cheat gone', async (region) => (await region.zScore(POINTS, champion)) === null);

const tops = await Promise.all(regions.map((region) => region.zRange(POINTS, 0, 2, { REV: true })));
assert.deepEqual(tops[1], tops[0]);
assert.deepEqual(tops[2], tops[0]);
assert.equal(await ap.zRevRank(POINTS, tops[0][0]), 0);
console.log('top three everywhere:', tops[0].join(', '));
await Promise.all(regions.map((client) => client.close()));

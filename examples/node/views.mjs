// View counters: every view counts once, wherever it was; unique visitors are counted once for all regions.

import { isDeepStrictEqual } from 'node:util';
import { connect, unique, untilAll } from './regions.mjs';

const PAGES = ['home', 'pricing', 'docs'];
const VIEWS = 60; // per region

const regions = await connect();
const site = unique();

// The client sends what one turn of the event loop asks for in one pipeline.
const view = (client, page, visitor) =>
  Promise.all([
    client.incr(`views:${site}:${page}`),
    client.hIncrBy(`views:${site}`, page, 1),
    client.pfAdd(`visitors:${site}`, visitor),
  ]);

// Half of the visitors of a region are seen in the next one, too.
const views = [];
for (let number = 0; number < VIEWS; number++) {
  regions.forEach((client, region) => {
    views.push(view(client, PAGES[number % PAGES.length], `visitor-${(region * VIEWS) / 2 + number}`));
  });
}
await Promise.all(views);

const each = String((VIEWS * regions.length) / PAGES.length);
const keys = PAGES.map((page) => `views:${site}:${page}`);
await untilAll(regions, 'every view counted', async (region) => (await region.mGet(keys)).every((views) => views === each));
const expected = Object.fromEntries(PAGES.map((page) => [page, each]));
await untilAll(regions, 'and in the hash', async (region) =>
  isDeepStrictEqual({ ...(await region.hGetAll(`views:${site}`)) }, expected),
);

const visitors = (VIEWS * (regions.length + 1)) / 2;
await untilAll(
  regions,
  'visitors counted once, to the two percent of a HyperLogLog',
  async (region) => Math.abs((await region.pfCount(`visitors:${site}`)) - visitors) <= visitors * 0.02,
);
console.log(`${each} views of each page, ${visitors} visitors, in every region`);
await Promise.all(regions.map((client) => client.close()));

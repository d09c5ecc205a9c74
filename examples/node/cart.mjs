// A shopping cart as a hash of quantities, filled in several regions, checked out in one transaction.

import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { WatchError } from 'redis';
import { connect, unique, until, untilAll } from './regions.mjs';

const regions = await connect();
const [eu, us, ap] = regions;
const user = unique();
const [CART, ORDER] = [`cart:${user}`, `order:${user}`];
const holds = (key, expected) => async (region) => isDeepStrictEqual({ ...(await region.hGetAll(key)) }, expected);

// The phone is served by eu, the laptop by us, and somebody in ap shares the account.
await Promise.all([
  eu.hIncrBy(CART, 'tea', 2),
  eu.hIncrBy(CART, 'cup', 1),
  us.hIncrBy(CART, 'tea', 1),
  ap.hIncrBy(CART, 'pot', 1),
]);
await untilAll(regions, 'one cart', holds(CART, { tea: '3', cup: '1', pot: '1' }));

// Put back in one region, gone from all.
assert.equal(await ap.hDel(CART, 'pot'), 1);
await untilAll(regions, 'the pot put back', holds(CART, { tea: '3', cup: '1' }));

// A transaction fails when the cart changes under it: here, in another region.
await eu.watch(CART);
await us.hIncrBy(CART, 'cup', 1);
await until('the second cup in eu', async () => (await eu.hGet(CART, 'cup')) === '2');
await assert.rejects(eu.multi().del(CART).exec(), WatchError);

// Meanwhile the laptop adds sugar: it is in the order when eu had seen it, and otherwise still in the cart.
await us.hIncrBy(CART, 'sugar', 1);
async function checkOut() {
  for (;;) {
    await eu.watch(CART);
    const items = await eu.hGetAll(CART);
    try {
      return await eu.multi().hSet(ORDER, { ...items }).del(CART).exec();
    } catch (error) {
      if (!(error instanceof WatchError)) throw error;
    }
  }
}
await checkOut();

await untilAll(regions, 'everything ordered or still in the cart, nothing twice', async (region) => {
  const [cart, order] = await region.multi().hGetAll(CART).hGetAll(ORDER).exec();
  const all = {};
  for (const [item, quantity] of [...Object.entries(cart), ...Object.entries(order)]) {
    all[item] = (all[item] ?? 0) + Number(quantity);
  }
  return isDeepStrictEqual(all, { tea: 3, cup: 2, sugar: 1 }) && order.tea === '3' && order.cup === '2';
});
console.log('ordered:', { ...(await ap.hGetAll(ORDER)) }, 'in the cart:', { ...(await ap.hGetAll(CART)) });
await Promise.all(regions.map((client) => client.close()));

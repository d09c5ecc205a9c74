// What the examples share: connecting to the regions, and waiting until they agree.

import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { createClient } from 'redis';

// Seconds after which an example gives up waiting.
const PATIENCE = Number(process.env.PATIENCE ?? 20);

/** Three clients, for the addresses on the command line. With fewer addresses, regions share a server. */
export async function connect(options = {}) {
  const addresses = process.argv.slice(2);
  if (addresses.length === 0) addresses.push('localhost:6379');
  const clients = ['eu', 'us', 'ap'].map((_, region) =>
    createClient({ ...options, url: `redis://${addresses[region % addresses.length]}` }),
  );
  return Promise.all(clients.map((client) => client.connect()));
}

/** A name that no other run uses. */
export const unique = () => randomUUID().slice(0, 8);

/** Asks again and again until the answer is true. */
export async function until(what, check) {
  console.log('waiting:', what);
  const deadline = performance.now() + PATIENCE * 1000;
  while (!(await check())) {
    if (performance.now() > deadline) {
      console.error(`waited ${PATIENCE} s in vain: ${what}`);
      process.exit(1);
    }
    await pause(20);
  }
}

/** Whether the check is true in every region. */
export async function all(clients, check) {
  const answers = await Promise.all(clients.map(check));
  return answers.every(Boolean);
}

/** Waits until the check is true in every region. */
export const untilAll = (clients, what, check) => until(what, () => all(clients, check));

import fs from 'node:fs';
import assert from 'node:assert/strict';

export { assert };
export const url = process.env.ALYS_RPC;
export const socket = url.replace('http', 'ws');
export const mnemonic = 'test test test test test test test test test test test junk';
export const counter = JSON.parse(fs.readFileSync('out/Counter.sol/Counter.json', 'utf8'));

/** Says what worked; the program that started this one prints it. */
export const worked = (text) => console.log(`ok ${text}`);

/** A promise that gives up, so that an event that never comes is a failure. */
export const within = (promise, seconds = 30) =>
  Promise.race([
    promise,
    new Promise((_, reject) => setTimeout(() => reject(new Error(`nothing within ${seconds} s`)), seconds * 1000).unref()),
  ]);

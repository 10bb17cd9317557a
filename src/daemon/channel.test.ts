import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { LcfsError } from '../engine/errors.js';
import { MainChannel, TaskChannel, makeSlots, type TaskStreams } from './channel.js';

/** Runs a task with both ends in this thread. */
async function perform(
  streams: TaskStreams,
  task: (channel: TaskChannel) => Promise<unknown>,
  started?: (main: MainChannel) => void,
): Promise<unknown> {
  const { port1, port2 } = new MessageChannel();
  const slots = makeSlots();
  const main = new MainChannel(port1, slots, streams);
  const channel = new TaskChannel(port2, slots);
  void task(channel).then(
    (result) => channel.finish({ result }),
    (error: Error) => channel.finish({ failure: { code: 'invalid', message: error.message } }),
  );
  started?.(main);
  return main.result();
}

/** Bytes that tell where they stand, longer than all slots together. */
function pattern(bytes: number): Buffer {
  return Buffer.from(Uint32Array.from({ length: bytes / 4 }, (_, i) => i).buffer);
}

async function collect(channel: TaskChannel): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of channel.read()) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

test('input arrives whole and in order, in pieces of any size', async () => {
  const sent = pattern(3 << 20);
  const pieces = [sent.subarray(0, 1), sent.subarray(1, 1), sent.subarray(1, 2_000_003), sent.subarray(2_000_003)];
  const received = await perform({ input: Readable.from(pieces) }, collect);
  assert.deepEqual(Buffer.from(received as Uint8Array), sent);
});

test('output arrives whole and in order, however slow its taker', async () => {
  const sent = pattern(3 << 20);
  const received: Buffer[] = [];
  const output = async (bytes: Uint8Array): Promise<void> => {
    received.push(Buffer.from(bytes));
    await new Promise((wake) => setTimeout(wake, 1));
  };
  const result = await perform({ output }, async (channel) => {
    for (let at = 0; at < sent.length; at += 1_000_000) await channel.write(sent.subarray(at, at + 1_000_000));
    return 'done';
  });
  assert.equal(result, 'done');
  assert.deepEqual(Buffer.concat(received), sent);
});

test('a task that refuses its input early is heard, and the rest of the input left alone', async () => {
  const input = Readable.from([Buffer.alloc(2 << 20), Buffer.alloc(2 << 20)]);
  await assert.rejects(
    perform({ input }, async (channel) => {
      for await (const piece of channel.read()) throw new LcfsError('invalid', `refused after ${piece.length}`);
    }),
    /refused after 65536/,
  );
  assert.equal(input.destroyed, false);
});

test('an input that breaks off fails the task', async () => {
  const input = new Readable({ read: () => {} });
  input.push(Buffer.alloc(10));
  setTimeout(() => input.destroy(new Error('connection reset')), 10);
  await assert.rejects(perform({ input }, collect), /broke off: connection reset/);
});

test('a task is cancelled while it waits for input or for its taker', async () => {
  const cancelSoon = (main: MainChannel): void => void setTimeout(() => main.cancel(), 10);
  await assert.rejects(perform({ input: new Readable({ read: () => {} }) }, collect, cancelSoon), /given up/);
  const stuck = (): Promise<void> => new Promise(() => {});
  const flood = async (channel: TaskChannel): Promise<void> => {
    for (;;) await channel.write(Buffer.alloc(65_536));
  };
  await assert.rejects(perform({ output: stuck }, flood, cancelSoon), /given up/);
});

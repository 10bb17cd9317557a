/** Bytes over a unix socket as no client sends them: in pieces, with pauses, cut off, or left hanging. */
import assert from 'node:assert/strict';
import { connect, type Server } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import type { Random } from './volume.js';

/** `end`: as one who has said all and listens. `destroy`: as one who dies. */
export type Ending = 'end' | 'destroy';

/** How long a server that was told everything may take to end the connection. */
const PATIENCE_MS = 10_000;

/** Sends pieces, lets the server have a turn between them, and returns what came back until the connection ended. */
export async function sendRaw(path: string, pieces: readonly Uint8Array[], ending: Ending): Promise<Buffer> {
  const socket = connect(path);
  const received: Buffer[] = [];
  const closed = new Promise<void>((settle) => socket.once('close', () => settle()));
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  socket.on('error', () => {}); // the server may end it first
  for (const piece of pieces) {
    if (socket.destroyed) break;
    socket.write(piece);
    await turn();
  }
  if (ending === 'destroy') socket.destroy();
  else socket.end();
  const patience = setTimeout(() => socket.destroy(new Error('the server keeps a connection whose client has ended')), PATIENCE_MS);
  await closed;
  clearTimeout(patience);
  if (socket.errored?.message.startsWith('the server keeps') === true) throw socket.errored;
  return Buffer.concat(received);
}

/** Cuts bytes into a few pieces, sometimes into single bytes at the start. */
export function inPieces(bytes: Buffer, random: Random): Buffer[] {
  if (random.below(3) === 0) return [bytes];
  const pieces: Buffer[] = [];
  const single = random.below(4) === 0 ? Math.min(40, bytes.length) : 0;
  for (let i = 0; i < single; i++) pieces.push(bytes.subarray(i, i + 1));
  for (let at = single; at < bytes.length;) {
    const length = 1 + random.below(Math.max(1, bytes.length >> 1));
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

/** Returns when all connections of a server have ended. Fails if one stays. */
export async function settled(server: Server): Promise<void> {
  for (let tries = 0; ; tries++) {
    const open = await new Promise<number>((settle, reject) =>
      server.getConnections((error, count) => (error === null ? settle(count) : reject(error))),
    );
    if (open === 0) return;
    assert.ok(tries < 500, `${open} connections stay`);
    await new Promise((wake) => setTimeout(wake, 10));
  }
}

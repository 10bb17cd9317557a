import assert from 'node:assert/strict';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import { Random, withFolder } from '../../../test/support/volume.js';
import { zstdSync } from '../../../test/support/zstd.js';
import { decompress, decompressFile, gzip, zstd } from './compression.js';

/** Half of it can be compressed. */
function content(bytes: number): Buffer {
  const random = new Random(7);
  const words = new Uint32Array(bytes / 4);
  for (let i = 0; i < words.length; i++) words[i] = i % 2 === 0 ? random.next() : 7;
  return Buffer.from(words.buffer);
}

/** Larger than what a process is started for, and smaller. */
const CONTENTS = [content(6 << 20), content(4096)];

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const unpack = (bytes: Buffer, size = 100_000): Promise<Buffer> => collect(decompress(inPieces(bytes, size), bytes.length));

test('gzip, zstd and nothing are told apart', async () => {
  for (const bytes of CONTENTS) {
    for (const packed of [gzipSync(bytes), zstdSync(bytes), bytes]) {
      assert.ok((await unpack(packed)).equals(bytes));
      assert.ok((await unpack(packed, 8192)).equals(bytes));
    }
  }
  assert.equal((await unpack(Buffer.alloc(0))).length, 0);
  assert.equal((await unpack(Buffer.from('ab'), 1)).toString(), 'ab');
});

test('gzip of several members', async () => {
  const [large, small] = CONTENTS as [Buffer, Buffer];
  const packed = Buffer.concat([gzipSync(small), gzipSync(large), gzipSync(small)]);
  assert.ok((await unpack(packed)).equals(Buffer.concat([small, large, small])));
});

test('damaged and cut off streams are refused', async () => {
  for (const bytes of CONTENTS) {
    for (const packed of [gzipSync(bytes), zstdSync(bytes)]) {
      await assert.rejects(unpack(packed.subarray(0, packed.length - 20)), { code: status.DATA_LOSS });
      await assert.rejects(unpack(packed.subarray(0, packed.length >> 1)), { code: status.DATA_LOSS });
    }
    const damaged = gzipSync(bytes);
    damaged[damaged.length >> 1]! ^= 0xff;
    await assert.rejects(unpack(damaged), { code: status.DATA_LOSS });
  }
});

test('an error of the source is passed on as it is', async () => {
  const packed = gzipSync(CONTENTS[0]!);
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield packed.subarray(0, packed.length >> 1);
    throw Object.assign(new Error('gone'), { code: 'GONE' });
  }
  await assert.rejects(collect(decompress(broken(), packed.length)));
});

test('a stream that is left in the middle is no problem', async () => {
  for await (const chunk of decompress(inPieces(gzipSync(CONTENTS[0]!), 8192), 6 << 20)) {
    assert.ok(chunk.length > 0);
    break;
  }
});

test('files go through programs', async () => {
  const [large, small] = CONTENTS as [Buffer, Buffer];
  await withFolder(async (folder) => {
    const open = (bytes: Buffer): number => {
      writeFileSync(join(folder, 'blob'), bytes);
      return openSync(join(folder, 'blob'), 'r');
    };
    for (const packed of [gzipSync(large), zstdSync(large)]) {
      const whole = open(packed);
      const source = decompressFile(whole, packed.length)!;
      assert.ok(Buffer.concat(Array.from(source.chunks, (chunk) => Buffer.from(chunk))).equals(large));
      await source.end();
      closeSync(whole);
      const half = open(packed.subarray(0, packed.length >> 1));
      const cut = decompressFile(half, packed.length)!;
      for (const chunk of cut.chunks) assert.ok(chunk.length > 0);
      await assert.rejects(cut.end(), { code: status.DATA_LOSS });
      closeSync(half);
    }
    for (const bytes of [large, small]) {
      const plain = open(bytes);
      assert.equal(decompressFile(plain, bytes.length), null);
      closeSync(plain);
    }
  });
});

test('what is compressed here can be decompressed', async () => {
  for (const bytes of CONTENTS) {
    assert.ok((await unpack(await collect(gzip(inPieces(bytes, 1 << 20))))).equals(bytes));
    const packed = zstd(inPieces(bytes, 1 << 20));
    if (packed !== null) assert.ok((await unpack(await collect(packed))).equals(bytes));
  }
});

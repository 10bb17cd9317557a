import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 as expectedSum } from 'node:zlib';
import { crc32, crc32Functions } from './crc32.js';
import { ioBuffer } from './libc.js';

test('every library sums up alike, any length from anywhere, from the start or further on', () => {
  const buffer = ioBuffer(3 * 4096);
  for (let i = 0; i < buffer.bytes.length; i++) buffer.bytes[i] = (i * 2_654_435_761) >>> 13;
  const functions = crc32Functions();
  assert.ok(functions.length > 0);
  for (const sum of [crc32, ...functions]) {
    for (const length of [0, 1, 3, 15, 16, 17, 63, 64, 65, 255, 4088, 4096, 8192, 8199]) {
      for (const start of [0, 1, 7, 8]) {
        const data = Buffer.from(buffer.bytes.slice(start, start + length));
        for (const seed of [0, 1, 0xffff_ffff, 0x8000_0000]) {
          assert.equal(sum(seed, buffer.address + start, length), expectedSum(data, seed), `${length} bytes from ${start}`);
        }
      }
    }
  }
});

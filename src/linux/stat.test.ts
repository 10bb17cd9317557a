import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { test } from 'node:test';
import { deviceOf } from './stat.js';

test('the device of a file is told as stat tells it', () => {
  for (const path of ['/', '/proc', '/proc/self/exe', '/dev/null']) {
    const { dev } = statSync(path);
    // dev_t of less than 32 bits, as glibc packs it (sys/sysmacros.h).
    assert.equal(deviceOf(path), `${(dev >>> 8) & 0xfff}:${(dev & 0xff) | ((dev >>> 12) & 0xfff00)}`);
  }
  assert.equal(deviceOf('/nowhere'), undefined);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAge, formatMicroseconds, formatSize, parseAge, parsePositiveSize, parseSeconds, parseSize } from './sizes.js';

test('sizes are read with and without unit, in any case', () => {
  const cases: [string, number][] = [
    ['0', 0],
    ['4096', 4096],
    ['256M', 256 * 2 ** 20],
    ['256m', 256 * 2 ** 20],
    ['20G', 20 * 2 ** 30],
    ['20GiB', 20 * 2 ** 30],
    ['20 GB', 20 * 2 ** 30],
    ['1.5T', 1.5 * 2 ** 40],
    ['1K', 1024],
  ];
  for (const [text, bytes] of cases) assert.equal(parseSize(text), bytes, text);
});

test('what is no size is refused', () => {
  for (const text of ['', 'G', '-1', '1X', '1e9', '0x10', '1GG', '99999999P', 'ten'])
    assert.throws(() => parseSize(text), /is not a size/, text);
  assert.throws(() => parsePositiveSize('0'), /more than zero/);
});

test('seconds lie between a tenth and an hour', () => {
  assert.equal(parseSeconds('2.5'), 2.5);
  for (const text of ['0', '-1', '0.01', '3601', 'x', '']) assert.throws(() => parseSeconds(text), /not a number of seconds/, text);
});

test('sizes and durations are printed with the unit that suits them', () => {
  assert.equal(formatSize(0), '0 B');
  assert.equal(formatSize(999), '999 B');
  assert.equal(formatSize(1023), '1.00 KiB');
  assert.equal(formatSize(20 * 2 ** 30), '20.0 GiB');
  assert.equal(formatSize(256 * 2 ** 20), '256 MiB');
  assert.equal(formatMicroseconds(0.5), '0.5 µs');
  assert.equal(formatMicroseconds(12), '12 µs');
  assert.equal(formatMicroseconds(3400), '3.4 ms');
  assert.equal(formatMicroseconds(2_000_000), '2.0 s');
});

test('ages are read and printed in the unit that suits them', () => {
  for (const [text, seconds] of [
    ['0', 0],
    ['90', 90],
    ['30m', 1800],
    ['1.5h', 5400],
    ['2D', 172_800],
  ] as const)
    assert.equal(parseAge(text), seconds, text);
  for (const text of ['', 'h', '-1', '1w', 'x']) assert.throws(() => parseAge(text), /is not a time/, text);
  for (const [seconds, text] of [
    [59, '59 s'],
    [60, '1 min'],
    [3600, '1 h'],
    [172_800, '2 d'],
  ] as const)
    assert.equal(formatAge(seconds), text);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseContainerOptions, parseEngineOptions, parseSize } from './options.js';

test('sizes are read as Docker reads them, in powers of 1024', () => {
  const sizes: [string, number][] = [
    ['4096', 4096],
    ['10g', 10 * 2 ** 30],
    ['10G', 10 * 2 ** 30],
    ['10GB', 10 * 2 ** 30],
    ['10GiB', 10 * 2 ** 30],
    ['1.5m', 1.5 * 2 ** 20],
    ['2 T', 2 * 2 ** 40],
    ['7b', 7],
  ];
  for (const [text, bytes] of sizes) assert.equal(parseSize('size', text), bytes, text);
});

test('what is no size is refused, with the option that was wrong', () => {
  for (const text of ['', '0', '-1', '10X', 'G', '1e9', '99999999P', '10 G B']) {
    assert.throws(() => parseSize('size', text), { code: 'invalid', message: /storage option size/ }, text);
  }
});

test('options of dockerd: the default size; anything else is refused', () => {
  assert.deepEqual(parseEngineOptions([]), { defaultQuotaBytes: 0 });
  assert.deepEqual(parseEngineOptions(['lcfs.size=20G']), { defaultQuotaBytes: 20 * 2 ** 30 });
  assert.deepEqual(parseEngineOptions(['LCFS.size=1k', 'lcfs.size=2k']), { defaultQuotaBytes: 2048 });
  assert.throws(() => parseEngineOptions(['overlay2.size=1G']), /unknown storage option 'overlay2.size'/);
  assert.throws(() => parseEngineOptions(['lcfs.size']), /'' is not a size/);
});

test('options of a container go before those of the engine', () => {
  const engine = { defaultQuotaBytes: 5 };
  assert.deepEqual(parseContainerOptions({}, { defaultQuotaBytes: 0 }), { quotaBytes: 0 });
  assert.deepEqual(parseContainerOptions({}, engine), { quotaBytes: 5 });
  assert.deepEqual(parseContainerOptions({ size: '1k' }, engine), { quotaBytes: 1024 });
  assert.deepEqual(parseContainerOptions({ SIZE: '1k' }, engine), { quotaBytes: 1024 });
  assert.throws(() => parseContainerOptions({ sise: '1k' }, engine), /unknown storage option 'sise'; lcfs knows size and lcfs.fsync/);
});

test('what fsync promises is said for all containers or for one', () => {
  const engine = parseEngineOptions(['lcfs.fsync=strict']);
  assert.deepEqual(engine, { defaultQuotaBytes: 0, defaultFsync: 'strict' });
  assert.deepEqual(parseContainerOptions({}, engine), { quotaBytes: 0, fsync: 'strict' });
  assert.deepEqual(parseContainerOptions({ 'lcfs.fsync': 'relaxed' }, engine), { quotaBytes: 0, fsync: 'relaxed' });
  assert.deepEqual(parseContainerOptions({ 'LCFS.fsync': 'Strict' }, parseEngineOptions([])), { quotaBytes: 0, fsync: 'strict' });
  assert.throws(() => parseEngineOptions(['lcfs.fsync=maybe']), /'maybe' is neither strict nor relaxed/);
  assert.throws(() => parseContainerOptions({ 'lcfs.fsync': '' }, engine), { code: 'invalid' });
});

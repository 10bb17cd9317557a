import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STAGING_NAME, layerNameOf } from './layer-names.js';

test('keys become names that any path and mount option can hold', () => {
  assert.equal(layerNameOf('default/12/sha256:abc'), 'ctr~default~12~sha256%3Aabc');
  assert.equal(layerNameOf('a~b,c é'), 'ctr~a%7Eb%2Cc%20%C3%A9');
  assert.equal(layerNameOf('..'), 'ctr~..');
});

test('different keys have different names of 255 bytes at most', () => {
  const long = 'x'.repeat(300);
  const keys = ['a/b', 'a~b', 'a%2Fb', 'a%7Eb', '/a/b', 'a//b', 'A/b', long, `${long}y`, `${long}/`, 'ä'.repeat(100), 'ä'.repeat(101)];
  const names = keys.map(layerNameOf);
  assert.equal(new Set(names).size, keys.length);
  for (const name of names) {
    assert.match(name, /^[A-Za-z0-9._~%-]{1,255}$/);
    assert.ok(!name.startsWith(STAGING_NAME));
  }
});

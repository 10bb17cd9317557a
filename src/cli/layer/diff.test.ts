import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable } from './diff.js';

test('names cannot forge lines or move the cursor', () => {
  assert.equal(printable('/plain name/ä'), '/plain name/ä');
  assert.equal(printable('/a\nD /b'), '/a\\x0aD /b');
  assert.equal(printable('/\u001b[2Jx\\y'), '/\\x1b[2Jx\\\\y');
});

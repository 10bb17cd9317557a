import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { parseFilters } from './filter.js';

const SNAPSHOT = {
  name: 'default/3/sha256:abc',
  parent: 'default/2/base',
  kind: 'committed',
  labels: { l: '1', 'containerd.io/snapshot.ref': 'sha256:abc', 'a b': 'x,y', empty: '' },
};

const matches = (...filters: string[]): boolean => parseFilters(filters)(SNAPSHOT);

test('fields, operators and values', () => {
  const holds = [
    'name',
    'name==default/3/sha256:abc',
    'kind==committed',
    'kind!=active',
    'parent!=""',
    'labels.l',
    'labels.l==1',
    'labels."l"==1',
    'labels."containerd.io/snapshot.ref"==sha256:abc,parent=="default/2/base"',
    'labels."a b"=="x,y"',
    'labels.empty',
    'labels.missing!=1',
    'name~=^default/[0-9]+/',
    'name~=/sha256:[a-f]+$/',
    'name~="sha256:[a-f]+$"',
    'kind ~= |comm.*|',
    ' kind == committed , labels.l == 1',
    '"kind"=="committed"',
    'kind=="\\x63ommitted"',
    'kind=="\\143\\u006fmmitted"',
    'kind=="\\U00000063ommitted"',
  ];
  for (const filter of holds) assert.equal(matches(filter), true, filter);
  const fails = [
    'name==x',
    'kind==active',
    'parent==""',
    'labels.missing',
    'labels',
    'labels.l~=^2',
    'nonsense',
    'nonsense==x',
    'labels.toString',
  ];
  for (const filter of fails) assert.equal(matches(filter), false, filter);
});

test('a comma means and, several filters mean or, none and an empty one match all', () => {
  assert.equal(matches('kind==committed,labels.l==2'), false);
  assert.equal(matches('kind==active', 'labels.l==1'), true);
  assert.equal(matches('kind==active', 'labels.l==2'), false);
  assert.equal(matches(), true);
  assert.equal(matches('kind==active', ''), true);
});

test('what does not parse is an invalid argument', () => {
  const wrong = [
    ',',
    '==x',
    'kind==',
    'kind=x',
    'kind=~x',
    'kind===x',
    'kind!x',
    'kind==a b',
    'kind==a,',
    '.kind',
    'labels.',
    'labels."l==1',
    'kind=="a',
    'kind=="a\nb"',
    'kind=="\\q"',
    'kind=="\\x1"',
    'kind=="\\UFFFFFFFF"',
    'kind~=(',
    'kind~="["',
    '\0',
    'kind kind',
  ];
  for (const filter of wrong) assert.throws(() => parseFilters([filter]), { code: status.INVALID_ARGUMENT }, filter);
});

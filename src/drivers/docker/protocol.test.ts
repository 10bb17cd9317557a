import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseBody, parseInit, parseLayerRequest, parseQuery } from './protocol.js';

const badRequest = { status: 400 };

test('a body is a JSON object, or empty', () => {
  assert.deepEqual(parseBody(''), {});
  assert.deepEqual(parseBody(' \n'), {});
  assert.deepEqual(parseBody('{"ID":"a"}'), { ID: 'a' });
  for (const text of ['{', '[]', 'null', '"a"', '1', '{"ID":"a"}x']) assert.throws(() => parseBody(text), badRequest, text);
});

test('missing fields of a call are empty, fields of a wrong type are refused', () => {
  assert.deepEqual(parseLayerRequest({}), { id: '', parent: '', storageOptions: {} });
  const fields = { ID: 'a', Parent: 'b', MountLabel: '', StorageOpt: { size: '1G' } };
  assert.deepEqual(parseLayerRequest(fields), { id: 'a', parent: 'b', storageOptions: { size: '1G' } });
  assert.deepEqual(parseLayerRequest({ ID: 'a', Parent: null, StorageOpt: null }), { id: 'a', parent: '', storageOptions: {} });
  for (const wrong of [{ ID: 1 }, { Parent: [] }, { StorageOpt: 'size=1G' }, { StorageOpt: { size: 1 } }]) {
    assert.throws(() => parseLayerRequest(wrong), badRequest);
  }
  assert.deepEqual(parseQuery(new URLSearchParams('id=a&parent=')), { id: 'a', parent: '', storageOptions: {} });
});

test('Init as Docker 20.10 sends it', () => {
  const plain = { Home: '/var/lib/docker/lcfs', Opts: null, UIDMaps: null, GIDMaps: null };
  assert.deepEqual(parseInit(plain), { home: '/var/lib/docker/lcfs', options: [], maps: { uids: [], gids: [] } });
  const range = { container_id: 0, host_id: 100_000, size: 65_536 };
  const mapped = parseInit({ Home: '/h', Opts: ['lcfs.size=1G'], UIDMaps: [range], GIDMaps: [{ ContainerID: 0, HostID: 1, Size: 2 }] });
  assert.deepEqual(mapped.options, ['lcfs.size=1G']);
  assert.deepEqual(mapped.maps, { uids: [{ container: 0, host: 100_000, size: 65_536 }], gids: [{ container: 0, host: 1, size: 2 }] });
});

test('wrong id ranges are refused', () => {
  const wrong = [
    { UIDMaps: 'x' },
    { UIDMaps: [null] },
    { UIDMaps: [{ container_id: 0, host_id: 0 }] },
    { GIDMaps: [{ container_id: -1, host_id: 0, size: 1 }] },
  ];
  for (const fields of wrong) assert.throws(() => parseInit(fields), badRequest, JSON.stringify(fields));
  assert.throws(() => parseInit({ Opts: [1] }), badRequest);
});

/** What programs write through mappings is in the volume when it is said to be, over each transport. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Transport } from '../../src/fuse/session.js';
import { Mapper } from '../support/mapper.js';
import { Mounted, TRANSPORTS, cannotMount } from './mounted.js';
import type { Order } from './server.js';

const BYTES = 64 << 10;

for (const transport of TRANSPORTS)
  describe(`what is written through mappings, over ${transport}`, { skip: cannotMount }, () => describeMapped(transport));

function describeMapped(transport: Transport): void {
  let mounted: Mounted;
  const mappers: Mapper[] = [];
  let clones = 0;

  before(async () => {
    mounted = await new Mounted(transport).ready();
  });
  after(async () => {
    for (const mapper of mappers) await mapper.end();
    try {
      await mounted.prove();
    } finally {
      await mounted.end();
    }
  });

  const at = (...parts: string[]): string => join(mounted.layers, ...parts);
  const create = (name: string, parent?: string) => mounted.must({ order: 'create', name, ...(parent !== undefined && { parent }) });
  const bringIn = (name: string, how: { blocked?: boolean; forgetful?: boolean } = {}) => mounted.order({ order: 'bringIn', name, ...how });

  async function map(path: string, bytes = BYTES): Promise<Mapper> {
    const mapper = await Mapper.map(path, bytes);
    mappers.push(mapper);
    return mapper;
  }

  /** What a clone that is made now has in a file. */
  async function cloned(layer: string, file: string): Promise<Buffer> {
    const clone = `clone${clones++}`;
    await create(clone, layer);
    return readFileSync(at(clone, file));
  }

  function assertWritten(contents: Buffer, text: string): void {
    for (let page = 0; page < contents.length; page += 4096) assert.equal(contents.toString('latin1', page, page + text.length), text);
  }

  it('is waited for, however long the writes take', async () => {
    await create('slow');
    const mapper = await map(at('slow/file'));
    await mapper.write('through the mapping');
    const { kind, early, message } = await bringIn('slow', { blocked: true });
    assert.deepEqual([kind, message, early], ['done', undefined, false]);
    assertWritten(await cloned('slow', 'file'), 'through the mapping');
  });

  it('is waited for again after it has changed again', async () => {
    await create('twice');
    const mapper = await map(at('twice/file'));
    for (const text of ['first', 'again']) {
      await mapper.write(text);
      assert.equal((await bringIn('twice', { blocked: true })).early, false);
    }
    assertWritten(await cloned('twice', 'file'), 'again');
  });

  it('is found whatever the file is called by then, and in as many files as there are', async () => {
    await create('many');
    const long = join('many', 'n'.repeat(255));
    const renamed = await map(at('many/name'));
    renameSync(at('many/name'), at(long));
    await renamed.write('renamed');
    const open = Array.from({ length: 450 }, (_, i) => openSync(at('many', `file${i}`), constants.O_RDWR | constants.O_CREAT));
    const late = await map(at('many/late'));
    await late.write('the last one');
    assert.equal((await bringIn('many', { blocked: true })).early, false);
    assertWritten(readFileSync(at(long)), 'renamed');
    assertWritten(await cloned('many', 'late'), 'the last one');
    for (const fd of open) closeSync(fd);
  });

  it('belongs to the layer alone if the file was inherited', async () => {
    await create('below');
    writeFileSync(at('below/file'), Buffer.alloc(BYTES, 'b'));
    await create('upon', 'below');
    const mapper = await map(at('upon/file'));
    await mapper.write('upon');
    assert.equal((await bringIn('upon', { blocked: true })).early, false);
    assertWritten(await cloned('upon', 'file'), 'upon');
    assert.ok(readFileSync(at('below/file')).equals(Buffer.alloc(BYTES, 'b')));
  });

  it('is there when the program was killed', async () => {
    await create('killed');
    const mapper = await map(at('killed/file'));
    await mapper.write('before the end');
    await mapper.end('SIGKILL');
    assert.equal((await bringIn('killed')).kind, 'done');
    assertWritten(await cloned('killed', 'file'), 'before the end');
  });

  it('is refused once if it cannot be stored', async () => {
    await mounted.must({ order: 'create', name: 'limited', quotaBytes: 1 << 20 });
    const mapper = await map(at('limited/file'), 4 << 20);
    await mapper.write('too much');
    const refused = await bringIn('limited');
    assert.deepEqual([refused.kind, refused.code], ['failed', 'io']);
    assert.match(refused.message!, /to layer "limited" through memory mappings could not all be stored/);
    assert.equal((await bringIn('limited')).kind, 'done');
  });

  it('cannot come into a sealed layer any more, which keeps nobody waiting', async () => {
    await create('sealed');
    const mapper = await map(at('sealed/file'));
    await mounted.must({ order: 'seal', name: 'sealed' });
    await mapper.write('too late');
    assert.deepEqual(await bringIn('sealed', { blocked: true }), { kind: 'done', early: true });
  });

  it('is found in the layer if the table of openings was too small', async () => {
    await create('lost');
    const mapper = await map(at('lost/file'));
    await mapper.write('not in the table');
    assert.equal((await bringIn('lost', { forgetful: true })).kind, 'done');
    assertWritten(await cloned('lost', 'file'), 'not in the table');
  });

  it('does not keep a process from ending that waits for it', async () => {
    const dying = await new Mounted(transport).ready();
    await dying.must({ order: 'create', name: 'layer' });
    const mapper = await Mapper.map(join(dying.layers, 'layer/file'), BYTES);
    try {
      await mapper.write('never served');
      dying.server.send({ order: 'bringIn', name: 'layer', blocked: true } satisfies Order);
      const requests = `/sys/fs/fuse/connections/${dying.connection}/waiting`;
      while (readFileSync(requests, 'latin1') === '0\n') await delay(1);
      dying.server.kill('SIGKILL');
      await once(dying.server, 'exit');
    } finally {
      await mapper.end('SIGKILL');
      await dying.end();
    }
  });
}

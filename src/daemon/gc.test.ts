import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LcfsError } from '../engine/errors.js';
import { collectGarbage, findLost, type GcContext, type Knowledge } from './gc.js';
import type { Maker, SurveyedLayer } from './gc-survey.js';
import { layersIn } from './mounted-layers.js';
import type { EngineName, GcRequest } from './protocol.js';

const NOW = 1_000_000_000_000;
const OLD = NOW - 7200_000;
const YOUNG = NOW - 60_000;

function layer(index: number, maker: Maker, more: Partial<SurveyedLayer> = {}): SurveyedLayer {
  return { index, name: `l${index}`, maker, parent: 0, created: OLD, ownBytes: 4096, holders: 0, ...more };
}

function knowledge(layers: SurveyedLayer[], more: Partial<Knowledge> = {}): Knowledge {
  const asked = new Map<EngineName, string>([
    ['docker', 'Docker'],
    ['containerd', 'containerd'],
  ]);
  return { since: NOW, layers, asked, notAsked: [], known: new Set(), used: new Map(), mounted: new Set(), ...more };
}

const lostOf = (known: Knowledge, request: GcRequest = {}): string[] => findLost(known, request, NOW).map(({ name }) => name);

test('what an engine knows stays, what it does not know is lost, children first', () => {
  const layers = [layer(1, 'docker'), layer(2, 'docker', { parent: 1 }), layer(3, 'docker', { parent: 2 }), layer(4, 'containerd')];
  assert.deepEqual(lostOf(knowledge(layers, { known: new Set([1]) })), ['l4', 'l3', 'l2']);
  assert.deepEqual(
    findLost(knowledge(layers, { known: new Set([1]) }), {}, NOW).map(({ why }) => why),
    ['containerd does not know it', 'Docker does not know it', 'Docker does not know it'],
  );
});

test('layers that something is built on stay with it, whoever made it', () => {
  const layers = [
    layer(1, 'docker'),
    layer(2, 'docker', { parent: 1 }),
    layer(3, 'hand', { parent: 2 }),
    layer(4, 'docker', { parent: 2 }),
  ];
  assert.deepEqual(lostOf(knowledge(layers)), ['l4']);
});

test('nothing is lost without its engine having been asked', () => {
  assert.deepEqual(lostOf(knowledge([layer(1, 'docker'), layer(2, 'containerd')], { asked: new Map([['docker', 'Docker']]) })), ['l1']);
});

test('what is held, mounted, young or was used lately stays', () => {
  const layers = [
    layer(1, 'docker', { holders: 1 }),
    layer(2, 'docker'),
    layer(3, 'docker', { created: YOUNG }),
    layer(4, 'containerd'),
    layer(5, 'docker'),
  ];
  const known = knowledge(layers, { mounted: new Set(['l2']), used: new Map([[4, YOUNG]]) });
  assert.deepEqual(lostOf(known), ['l5']);
  assert.deepEqual(lostOf(known, { olderThanSeconds: 30 }), ['l5', 'l4', 'l3']);
});

test('layers made by hand stay unless they are named; imports that were cut off do not', () => {
  const layers = [layer(1, 'hand'), layer(2, 'hand'), layer(3, 'import'), layer(4, 'import', { holders: 1 })];
  assert.deepEqual(lostOf(knowledge(layers, { asked: new Map() })), ['l3']);
  assert.deepEqual(lostOf(knowledge(layers, { asked: new Map() }), { names: ['l1'] }), ['l3', 'l1']);
});

/** A daemon whose Docker comes to know `learns` between the two questions, and says that `refuses` are in use. */
function context(layers: SurveyedLayer[], options: { learns?: number[]; refuses?: number[] } = {}): GcContext & { removed: string[] } {
  const removed: string[] = [];
  let questions = 0;
  const remove = (name: string): void => void removed.push(name);
  return {
    mountpoint: '/nowhere',
    removed,
    tasks: {
      run: async <T>(task: string, args: unknown) => {
        if (task === 'removeLost') remove((args as { name: string }).name);
        return layers as T;
      },
    },
    drivers: {
      docker: {
        claims: async () => ({ asked: 'Docker', known: questions++ === 0 ? [] : (options.learns ?? []), used: new Map() }),
        removeUnclaimed: async ({ index, name }) => {
          if (options.refuses?.includes(index) === true) throw new LcfsError('busy', 'in use');
          remove(name);
        },
      },
    },
  };
}

test('a dry run removes nothing; a removal asks once more and says what became of each layer', async () => {
  const layers = [layer(1, 'docker'), layer(2, 'docker', { parent: 1 }), layer(3, 'docker'), layer(4, 'docker'), layer(5, 'import')];
  const dry = context(layers);
  assert.equal((await collectGarbage(dry, {})).layers.length, 5);
  assert.deepEqual(dry.removed, []);
  const wet = context(layers, { learns: [2], refuses: [3] });
  const { layers: lost } = await collectGarbage(wet, { remove: true });
  assert.deepEqual(wet.removed, ['l5', 'l4']);
  const failures = lost.filter(({ removed }) => !removed).map(({ name, failure }) => [name, failure]);
  assert.deepEqual(failures, [
    ['l3', 'in use'],
    ['l2', 'somebody uses it again'],
    ['l1', 'somebody uses it again'],
  ]);
});

test('an engine that cannot be asked is told of, and one that is gone knows nothing', async () => {
  const layers = [layer(1, 'containerd'), layer(2, 'docker')];
  const { layers: lost, notAsked } = await collectGarbage(context(layers), {});
  assert.deepEqual(
    lost.map(({ name }) => name),
    ['l2'],
  );
  assert.deepEqual([notAsked[0]!.engine, notAsked[0]!.layers], ['containerd', 1]);
  assert.match(notAsked[0]!.why, /--containerd, or say --gone containerd/);
  const gone = await collectGarbage(context(layers), { gone: ['containerd'] });
  assert.deepEqual(gone.notAsked, []);
  assert.equal(gone.layers.length, 2);
});

test('a name that no layer has is refused', async () => {
  await assert.rejects(collectGarbage(context([]), { names: ['web'] }), /there is no layer "web"/);
});

test('mounted layers are found in the text of a mountinfo', () => {
  const text = [
    '1 0 0:7 / / rw - fuse.lcfs x rw',
    '2 0 0:7 /layers/a / rw - fuse.lcfs x rw',
    '3 0 0:7 /layers/with\\040blank/etc/hosts /etc/hosts rw - fuse.lcfs x rw',
    '4 0 0:8 /layers/other /x rw - fuse.lcfs y rw',
    '5 0 0:7 /global/x /y rw - fuse.lcfs x rw',
  ];
  assert.deepEqual(layersIn(Buffer.from(text.join('\n')), '0:7'), ['a', 'with blank']);
});

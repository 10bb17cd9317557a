/**
 * What a process does that carries on where another one died, beside serving: the shared tables are made right before anybody
 * uses them, and what the dead process left undone is done when requests are served again.
 */
import { statfsSync } from 'node:fs';
import { NEXT_LAYER } from '../engine/arena.js';
import { layerIndices } from '../engine/layers.js';
import { orphansOf } from '../engine/orphans.js';
import { W } from '../layout/memory.js';
import type { Ino, LayerIndex } from '../layout/constants.js';
import { allowedCpus, pinThread } from '../linux/affinity.js';
import { closeBacking } from './backing.js';
import { BehindTable, type Behind } from './behind.js';
import { reapIfForgotten } from './forget.js';
import { announceLayerList } from './notify.js';
import { recount, useOpenFiles } from './open-files.js';
import { Openings } from './openings.js';
import { recountShared, sharedHolders } from './sharing.js';
import { BEHIND_AT, OPENINGS_AT, type Tables } from './tables.js';

const LAYER_BATCH = 1000;

/** Something to be told to the kernel, with its number in the table of such. */
export interface Noted {
  readonly number: number;
  readonly behind: Behind;
}

/** Makes the tables right, before any thread uses them. Returns what the kernel has still to be told. */
export function repairTables(tables: Tables, device: number): Noted[] {
  const openings = new Openings(tables.memory, tables.at + OPENINGS_AT).recover();
  useOpenFiles(tables, true);
  recount(openings);
  for (const backing of recountShared(tables, openings)) closeBacking(device, backing);
  return new BehindTable(tables.memory, tables.at + BEHIND_AT).recover();
}

/**
 * Sends a request of our own from every CPU: what came while nobody served waits in the queue of its CPU until another request
 * comes there. For a thread that serves none.
 */
export function wakeQueues(directories: readonly string[]): void {
  const cpus = allowedCpus();
  for (const cpu of cpus) {
    pinThread([cpu]);
    for (const directory of directories) ask(directory);
  }
  pinThread(cpus);
}

/** Whatever the answer is, there was a request. */
function ask(directory: string): void {
  try {
    statfsSync(directory);
  } catch {
    // Gone with its users.
  }
}

/** Files without names whose FORGET the dead process had read are freed, and the kernel looks at the layers anew. */
export function catchUp(tables: Tables, device: number): void {
  announceLayerList(device);
  const isHeld = sharedHolders(tables);
  for (let from = 0; from < W[NEXT_LAYER]!;) {
    const layers = layerIndices(from, LAYER_BATCH);
    if (from === 0) layers.unshift(0);
    for (const layer of layers) reapForgotten(device, layer, isHeld);
    if (layers.length < LAYER_BATCH) return;
    from = layers.at(-1)! + 1;
  }
}

function reapForgotten(device: number, layer: LayerIndex, isHeld: (layer: LayerIndex, ino: Ino) => boolean): void {
  for (const ino of orphansOf(layer)) reapIfForgotten(device, layer, ino, isHeld);
}

/**
 * What a clone costs in the engine, against the length of the chain it ends and against the size of the layer it is made
 * of; and what a look-up costs at the end of the chain. Runs in this process, on a volume of its own.
 *
 * Clones of all subjects are made in turn, so that whatever else the machine does meets all of them alike.
 */
import { rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../scripts/lib/folders.js';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { write } from '../../src/engine/file.js';
import { createLayer, layerInfo, removeLayer } from '../../src/engine/layers.js';
import { create, lastUnlinkedIno, lookup, reapOrphan, unlink } from '../../src/engine/namespace.js';
import { reclaimAll } from '../../src/engine/maintenance.js';
import { closeVolume, formatVolume, openVolume } from '../../src/engine/volume.js';
import { ROOT_INO, type Ino, type LayerIndex } from '../../src/layout/constants.js';
import { ioBuffer } from '../../src/linux/libc.js';
import type { Bench } from '../harness/bench.js';
import { addFigures, type Figure, ratio } from '../harness/figures.js';
import { median, quantile } from '../harness/statistics.js';
import type { Part } from '../harness/types.js';

const DEPTHS = [1, 10, 100, 1000, 10_000];
const CLONES = 1000;
const LOOKUPS = 20_000;
/** All layers of the chain have as many files, so that look-ups differ in nothing but the length of the chain. */
const FILES = 1000;
const REGULAR = 0o100644;
const CHUNK_BYTES = 1 << 20;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const SIZES = [10 * MIB, 100 * MIB, GIB, 10 * GIB];
/** A clone is over in microseconds, so each of the values that are compared is the median of many. */
const VALUES = 5;
const ROOM_FACTOR = 1.5;

interface Subject {
  metric: string;
  x: number;
  layer: string;
  times: number[];
}

export const clones: Part = {
  name: 'clones',
  description: 'what a clone costs in the engine, against depth and size',
  disks: ['fast'],
  run: async (bench) => measureAll(bench),
};

function measureAll(bench: Bench): void {
  const folder = makeFolder('lcfs-b-');
  const sizes = SIZES.filter((bytes) => bytes < GIB || hasRoom(folder, bytes));
  try {
    formatVolume(join(folder, 'volume'), { bytes: sizes.reduce((sum, bytes) => sum + bytes, 4 * GIB) });
    openVolume(join(folder, 'volume'));
    measureClones(bench, bench.quick ? sizes.slice(0, 2) : sizes);
    addFigures(bench, measureLookups());
    closeVolume();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function hasRoom(folder: string, bytes: number): boolean {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize > bytes * ROOM_FACTOR;
}

function measureClones(bench: Bench, sizes: readonly number[]): void {
  makeChain(Math.max(...DEPTHS));
  const subjects: Subject[] = [
    ...DEPTHS.map((depth) => ({
      metric: 'clone in the engine, against the length of the chain',
      x: depth,
      layer: chainLayer(depth),
      times: [],
    })),
    ...sizes.map((bytes) => ({
      metric: 'clone in the engine, against the size of the layer in MiB',
      x: bytes / MIB,
      layer: makeFilled(`filled-${bytes}`, bytes),
      times: [],
    })),
  ];
  checkpoint();
  for (let i = 0; i < CLONES; i++) for (const subject of subjects) subject.times.push(cloneOnce(subject.layer, i));
  for (const { metric, x, times } of subjects) {
    const values = Array.from({ length: VALUES }, (_, i) => median(times.slice((i * CLONES) / VALUES, ((i + 1) * CLONES) / VALUES)));
    const notes = `99 % below ${quantile(times, 0.99).toFixed(1)} µs; each value is the median of ${CLONES / VALUES}`;
    bench.addRow({ metric, peer: 'lcfs', x, unit: 'µs', better: 'lower', values, notes });
  }
}

/** Microseconds for one clone, which is removed again. */
function cloneOnce(parent: string, round: number): number {
  const started = performance.now();
  createLayer('clone', { parent });
  const time = (performance.now() - started) * 1000;
  removeLayer('clone');
  if (round % 100 === 99) reclaimAll();
  return time;
}

const chainLayer = (depth: number): string => `chain-${depth}`;

/** The first layer makes the files, each one after it replaces one of them. */
function makeChain(length: number): void {
  const first = createLayer(chainLayer(1));
  for (let i = 0; i < FILES; i++) makeFile(first, fileName(i));
  for (let depth = 2; depth <= length; depth++) {
    const layer = createLayer(chainLayer(depth), { parent: chainLayer(depth - 1) });
    const name = Buffer.from(fileName(depth % FILES));
    unlink(layer, ROOT_INO, name, 0, name.length);
    reapOrphan(layer, lastUnlinkedIno);
    makeFile(layer, fileName(depth % FILES));
  }
}

const fileName = (i: number): string => `file-${i}`;

function makeFile(layer: LayerIndex, name: string): Ino {
  const bytes = Buffer.from(name);
  const ino = create(layer, ROOT_INO, bytes, 0, bytes.length, REGULAR, 0, 0, 0, 0);
  if (ino < 0) throw new Error(`making ${name} failed (error ${-ino})`);
  return ino;
}

/** A layer with one file of `size` bytes, none of them in a hole. */
function makeFilled(name: string, size: number): string {
  const layer = createLayer(name);
  const ino = makeFile(layer, 'data');
  const chunk = ioBuffer(CHUNK_BYTES);
  chunk.bytes.fill(0x6c);
  for (let at = 0; at < size; at += CHUNK_BYTES) {
    const written = write(layer, ino, at, CHUNK_BYTES, chunk, 0, 0);
    if (written !== CHUNK_BYTES) throw new Error(`filling ${name} failed (${written})`);
  }
  return name;
}

/** Looks up the files at the end of chains of different length. */
function measureLookups(): Figure[] {
  const names = Array.from({ length: FILES }, (_, i) => Buffer.from(fileName(i)));
  const times = DEPTHS.map((depth) => lookupTime(layerInfo(chainLayer(depth)).index, names));
  return DEPTHS.map((depth, i) => ({
    name: `look-up at the end of a chain of ${depth}`,
    value: times[i]!,
    unit: 'µs',
    note: ratio(times[i]!, times[0]!, `chain of ${DEPTHS[0]}`),
  }));
}

function lookupTime(layer: LayerIndex, names: readonly Buffer[]): number {
  const rounds = Array.from({ length: 5 }, () => {
    const started = performance.now();
    for (let i = 0; i < LOOKUPS; i++) {
      const name = names[i % names.length]!;
      if (lookup(layer, ROOT_INO, name, 0, name.length) < 0) throw new Error('a file of the chain is not there');
    }
    return ((performance.now() - started) * 1000) / LOOKUPS;
  });
  return median(rounds);
}

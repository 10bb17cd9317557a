/**
 * Processes killed at any moment: whoever takes the volume over finds each answered request done, and the one that was under
 * way either done or not, as `appliedOrigin` says; done again where it was not, the volume is what it is without a death.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLayer, findLayer } from '../../src/engine/layers.js';
import { createLogMemory, type LogMemory } from '../../src/engine/log-memory.js';
import { appliedOrigin } from '../../src/engine/origins.js';
import { abandonVolume, closeVolume, formatVolume, openVolume } from '../../src/engine/volume.js';
import { digestLayer } from '../support/digest.js';
import { serve } from '../support/requests.js';
import { MIB, Random, assertSound, withFolder } from '../support/volume.js';

const KILLS = Number(process.env['LCFS_KILLS'] ?? 8);
const SIZE = 192 * MIB;
const CACHE = { cacheBytes: 8 * MIB };

function answeredIn(fd: number): number {
  const words = new Uint32Array(1);
  return readSync(fd, words, 0, 4, 0) === 4 ? words[0]! : 0;
}

/** Lets a process serve requests from `first` on and kills it while it does. Returns how many have been answered. */
async function serveAndDie(path: string, log: LogMemory, progress: number, first: number, random: Random): Promise<number> {
  const victim = new URL('../support/victim.js', import.meta.url).pathname;
  const child = spawn(process.execPath, [victim, path, String(log.bytes), String(first)], {
    stdio: ['ignore', 'inherit', 'inherit', log.fd, progress],
  });
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.on('exit', (_, signal) => resolve(signal)));
  while (answeredIn(progress) < first && child.exitCode === null) await sleep(5);
  await sleep(random.below(250));
  child.kill('SIGKILL');
  assert.equal(await ended, 'SIGKILL', 'nothing else ended it');
  return answeredIn(progress);
}

/** The layer without its times. */
function contentsOfLayer(): string {
  return digestLayer('test').replaceAll(/ \d+\.\d+ /g, ' ');
}

/** What the layer is like after so many requests, in a volume whose processes end in order. */
function modelAfter(path: string, from: number, to: number): string {
  openVolume(path, CACHE);
  for (let number = from; number <= to; number++) serve(findLayer('test'), number);
  const contents = contentsOfLayer();
  closeVolume();
  return contents;
}

function makeVolume(path: string): void {
  formatVolume(path, { bytes: SIZE });
  openVolume(path, CACHE);
  createLayer('test');
  closeVolume();
}

test('a process that is killed loses nothing that it answered, and does nothing twice', async () => {
  const random = new Random();
  console.log(`# seed ${random.seed}`);
  const log = createLogMemory();
  await withFolder(async (folder) => {
    const [path, model] = [join(folder, 'volume'), join(folder, 'model')];
    const progress = openSync(join(folder, 'progress'), 'w+');
    makeVolume(path);
    makeVolume(model);
    let served = 0;
    let applied = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      writeSync(progress, new Uint32Array([served]), 0, 4, 0);
      const answered = await serveAndDie(path, log, progress, served + 1, random);
      openVolume(path, { ...CACHE, log, takeover: true });
      if (appliedOrigin(answered + 1, 1)) applied++;
      else serve(findLayer('test'), answered + 1);
      const contents = contentsOfLayer();
      assertSound();
      abandonVolume();
      assert.equal(contents, modelAfter(model, served + 1, answered + 1));
      served = answered + 1;
    }
    console.log(`# ${KILLS} kills, ${served} requests, ${applied} were done but not answered`);
    closeSync(progress);
  });
  closeSync(log.fd);
});

/** Images that the tests of containerd bring in: each layer does another thing to the ones below, and is compressed in another way. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { busyboxRoot, debianRoot } from '../../scripts/lib/images.js';
import { type Compression, type Image, makeImage, replaceLayer } from '../../scripts/lib/oci.js';
import { needCommands } from '../../scripts/lib/packages.js';
import { run } from '../../scripts/lib/run.js';
import { makeOddRoot } from './odd-root.js';

export interface TestImages {
  /** Busybox and nothing else. */
  plain: Image;
  /** Four layers: busybox, everything that a file system can hold, changes and removals, what comes back after that. */
  odd: Image;
}

/** Makes the images in a folder. */
export async function makeTestImages(folder: string): Promise<TestImages> {
  await needCommands('zstd');
  const layers = join(folder, 'layers');
  mkdirSync(layers, { recursive: true });
  const oddRoot = join(layers, 'odd.tar');
  await makeOddRoot(oddRoot);
  const files = [await busyboxRoot(), oddRoot, await makeTar(layers, changes), await makeTar(layers, comeback)];
  const compressions: Compression[] = ['gzip', 'zstd', 'gzip', 'none'];
  const sources = files.map((tar, index) => ({ tar, compression: compressions[index]! }));
  return { plain: await makeImage(join(folder, 'plain'), sources.slice(0, 1)), odd: await makeImage(join(folder, 'odd'), sources) };
}

/** Packs what `fill` makes in an empty folder. Returns the tar. */
export async function makeTar(folder: string, fill: (at: (path: string) => string) => void): Promise<string> {
  const root = mkdtempSync(join(folder, 'root-'));
  fill((path) => join(root, path));
  const tar = `${root}.tar`;
  await run('tar', ['-C', root, '--numeric-owner', '--sort=name', '-cf', tar, '.']);
  rmSync(root, { recursive: true });
  return tar;
}

/** Changes what lies below: removed, replaced by another kind, hidden and filled again. */
function changes(at: (path: string) => string): void {
  mkdirSync(at('deep/er'), { recursive: true });
  writeFileSync(at('deep/er/.wh.file'), '');
  writeFileSync(at('.wh.suid'), '');
  writeFileSync(at('.wh.sticky'), ''); // a directory
  writeFileSync(at('owned'), 'other content');
  mkdirSync(at('first-name')); // a file before
  writeFileSync(at('first-name/inside'), 'x');
  symlinkSync('first-name', at('shared')); // a directory before
  mkdirSync(at('var/.d'), { recursive: true });
  mkdirSync(at('etc'));
  writeFileSync(at('etc/.wh..wh..opq'), '');
  writeFileSync(at('etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(at('etc/new'), 'new');
  linkSync(at('etc/new'), at('etc/new-again'));
}

/** Puts back names that the layer below removed. */
function comeback(at: (path: string) => string): void {
  mkdirSync(at('sticky'));
  writeFileSync(at('sticky/file'), 'back');
  writeFileSync(at('suid'), 'back');
  chmodSync(at('suid'), 0o6755);
  mkdirSync(at('tmp'));
  chmodSync(at('tmp'), 0o1777);
}

/** Images with a layer that must not be taken, each for another reason. The first layer of each is a good one. */
export async function brokenImages(folder: string, good: Image): Promise<Map<string, Image>> {
  const layers = join(folder, 'layers');
  const tar = await makeTar(layers, (at) => writeFileSync(at('data'), randomBytes(3_000_000)));
  const images = new Map<string, Image>();
  const broken = async (name: string, compression: Compression, damage: (blob: Buffer) => Buffer): Promise<void> => {
    const image = await makeImage(join(folder, `broken-${name}`), [
      { tar: await busyboxRoot(), compression: 'gzip' },
      { tar, compression },
    ]);
    images.set(name, replaceLayer(image, 1, damage));
  };
  assert.equal(good.manifest.layers.length, 1);
  for (const compression of ['none', 'gzip', 'zstd'] as const) {
    await broken(`cut-${compression}`, compression, (blob) => blob.subarray(0, blob.length >> 1));
  }
  for (const compression of ['gzip', 'zstd'] as const) {
    await broken(`corrupt-${compression}`, compression, (blob) => flip(blob, blob.length >> 1));
  }
  await broken('garbage', 'gzip', () => randomBytes(100_000));
  await broken('empty', 'gzip', () => Buffer.alloc(0));
  await broken('other', 'none', (blob) => flip(blob, 1024)); // a sound tar, but not the one that the image names
  return images;
}

function flip(blob: Buffer, at: number): Buffer {
  const changed = Buffer.from(blob);
  changed[at]! ^= 0xff;
  return changed;
}

/** A root file system of about 200 MB on top of nothing, not compressed. */
export async function largeImage(folder: string): Promise<Image> {
  return makeImage(join(folder, 'large'), [{ tar: await debianRoot(), compression: 'none' }]);
}

/** An image whose only layer has three megabytes of random data, as they are, to be damaged once it was imported. */
export async function damagedImage(folder: string): Promise<Image> {
  const tar = await makeTar(join(folder, 'layers'), (at) => writeFileSync(at('data'), randomBytes(3_000_000)));
  return makeImage(join(folder, 'damaged'), [{ tar, compression: 'none' }]);
}

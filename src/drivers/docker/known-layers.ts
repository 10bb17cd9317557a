/**
 * Which layers a Docker Engine knows, read from its files, as its API does not tell and it may be down:
 *
 *   <data root>/image/<driver>/layerdb/<algorithm>/<digest>/cache-id      a layer of an image
 *   <data root>/image/<driver>/layerdb/tmp/<number>/cache-id              one that is just being entered
 *   <data root>/image/<driver>/layerdb/mounts/<container>/{mount,init}-id  the two layers of a container
 *   <data root>/buildkit/*.db                                              BuildKit's databases (bbolt)
 *
 * A layer counts as known to BuildKit if its name is found anywhere in its databases. That errs on the safe side: bbolt
 * keeps a name in one piece, and may keep some of those that are gone. A database that changes while it is read is read again.
 *
 * A crash may leave any of these behind, and Docker forgets some of them. That is what `isForgotten` tells. What Docker has entered
 * as a layer of an image is not forgotten, even if the image was lost: Docker takes the layer up again when it comes once more.
 *
 * A Docker Engine tells the driver its folder, `<data root>/<driver>`, when it starts.
 */
import { readFile, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { LcfsError } from '../../engine/errors.js';

const TRIES = 20;
/** Times of files are a few milliseconds older than the clock; Docker enters no layer in its first second. */
const SLACK_MS = 1000;
/** What Docker reads of a container at its start; written when the container has its layers. */
const CONTAINER_FILE = 'config.v2.json';
const ABSENT: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ENOTDIR']);

/** Where an engine keeps its data, and under which names it knows this driver. */
export interface DockerPlace {
  readonly root: string;
  readonly drivers: readonly string[];
  /** When the engine was started, in milliseconds since 1970, if that is known. */
  readonly startedMs?: number | undefined;
}

/** The place of an engine that said `home`. */
export function placeOfHome(home: string, startedMs?: number): DockerPlace {
  return { root: dirname(home), drivers: [basename(home)], startedMs };
}

/** Those of `names` that the engine there knows. Throws LcfsError `state` if its files cannot be read. */
export async function knownIn(place: DockerPlace, names: readonly string[]): Promise<Set<string>> {
  const listed = await listedNames(place);
  const known = new Set(names.filter((name) => listed.has(name)));
  const others = names.filter((name) => !listed.has(name));
  for (const name of others.length === 0 ? [] : await namesInBuildKit(place.root, others)) known.add(name);
  return known;
}

/** All names in the databases of layers under any of the driver's names, one of which must be there. */
async function listedNames(place: DockerPlace): Promise<Set<string>> {
  const { root, drivers } = place;
  const names = new Set<string>();
  let found = 0;
  for (const driver of drivers) {
    const folder = join(root, 'image', driver, 'layerdb');
    const entries = await list(folder);
    if (entries === null) continue;
    found++;
    for (const entry of entries) await addNames(names, join(folder, entry), place);
  }
  if (found > 0) return names;
  throw new LcfsError('state', `Docker has no layers of ${drivers.join(' or ')} in ${root}; name its data root with --docker-root`);
}

async function addNames(names: Set<string>, folder: string, place: DockerPlace): Promise<void> {
  for (const entry of (await list(folder)) ?? []) {
    if (await isForgotten(folder, entry, place)) continue;
    for (const file of ['cache-id', 'mount-id', 'init-id']) {
      const text = await read(join(folder, entry, file));
      if (text !== null) names.add(text.toString().trim());
    }
  }
}

/**
 * Whether Docker will never ask for what an entry of its database is about: a layer that it has begun to remove, one that an
 * earlier process of Docker had begun to enter, or one for a container that such a process had begun to make.
 */
async function isForgotten(folder: string, entry: string, { root, startedMs }: DockerPlace): Promise<boolean> {
  if (entry.endsWith('-removing')) return true;
  const kind = basename(folder);
  if (startedMs === undefined || (kind !== 'tmp' && kind !== 'mounts')) return false;
  const made = await unlessAbsent(stat(join(folder, entry)), folder);
  if (made === null || made.mtimeMs >= startedMs - SLACK_MS) return false;
  return kind === 'tmp' || (await unlessAbsent(stat(join(root, 'containers', entry, CONTAINER_FILE)), root)) === null;
}

async function namesInBuildKit(root: string, names: readonly string[]): Promise<string[]> {
  const folder = join(root, 'buildkit');
  const databases = ((await list(folder)) ?? []).filter((name) => name.endsWith('.db'));
  const contents = await Promise.all(databases.map((name) => readStill(join(folder, name))));
  return names.filter((name) => contents.some((content) => content.includes(name)));
}

/** A file as it was at one moment. Throws LcfsError `state` if it never rests. */
async function readStill(path: string): Promise<Buffer> {
  for (let tries = 0; tries < TRIES; tries++) {
    const before = await stat(path, { bigint: true });
    const content = await readFile(path);
    const { mtimeNs, size } = await stat(path, { bigint: true });
    if (mtimeNs === before.mtimeNs && size === before.size) return content;
  }
  throw new LcfsError('state', `${path} changes all the time; try again when Docker builds nothing`);
}

/** Names in a folder; null if there is none. */
async function list(folder: string): Promise<string[] | null> {
  return unlessAbsent(readdir(folder), folder);
}

async function read(path: string): Promise<Buffer | null> {
  return unlessAbsent(readFile(path), path);
}

async function unlessAbsent<T>(work: Promise<T>, path: string): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (ABSENT.has((error as NodeJS.ErrnoException).code)) return null;
    throw new LcfsError('state', `${path} cannot be read (${(error as Error).message})`);
  }
}

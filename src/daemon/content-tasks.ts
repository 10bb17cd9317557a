/** Tasks that take long or whose streams set the pace: listing, comparing, importing, exporting, checking. */
import { exportLayer } from '../archive/export.js';
import { LayerImport, type ImportResult } from '../archive/import.js';
import { checkpoint } from '../engine/checkpoint.js';
import { checkVolume } from '../engine/check.js';
import { ADDED, DELETED, diffLayers, type Change as EngineChange } from '../engine/diff.js';
import { LcfsError } from '../engine/errors.js';
import { createLayer, holdLayer, layerInfo, listLayers, releaseLayer, removeLayer, updateLayer } from '../engine/layers.js';
import { UNFINISHED, UNFINISHED_MARK } from '../engine/unfinished.js';
import type { MappedWrites } from '../fuse/mapped-writes.js';
import type { TaskChannel } from './channel.js';
import type { Announce } from './announce.js';
import { describeCheck } from './offline-check.js';
import type { Change, ImportReport } from './protocol.js';
import { describeLayer } from './volume-tasks.js';

/** As long as a chunk of a stream usually is. */
const BATCH_CHARACTERS = 65_536;

export const contentTasks = (announce: Announce, mapped: MappedWrites) => ({
  listLayers: (_: object, channel: TaskChannel) => sendLines(channel, listLayers(), describeLayer),
  diff: (args: Compared, channel: TaskChannel) => sendDiff(args, channel, mapped),
  check: ({ data }: { data: boolean }) => describeCheck(checkVolume({ data })),
  export: (args: ExportArgs, channel: TaskChannel) => exportTar(args, channel, mapped),
  import: (args: NewContent, channel: TaskChannel) => importLayer(args, channel, announce, mapped),
});

/** A layer, and the one that it is compared with; null: its parent. */
interface Compared {
  name: string;
  base: string | null;
}

/** Throws LcfsError `not-found` for one that is not there. */
async function bringInBoth({ name, base }: Compared, mapped: MappedWrites): Promise<void> {
  await mapped.bringIn(name);
  if (base !== null) await mapped.bringIn(base);
}

async function sendDiff(compared: Compared, channel: TaskChannel, mapped: MappedWrites): Promise<void> {
  await bringInBoth(compared, mapped);
  const { name, base } = compared;
  await sendLines(channel, diffLayers(name, base ?? parentOf(name)), describeChange);
}

/** Sends values as lines of JSON, many in one chunk. */
async function sendLines<T>(channel: TaskChannel, values: Iterable<T>, describe: (value: T) => unknown): Promise<void> {
  let batch = '';
  for (const value of values) {
    batch += `${JSON.stringify(describe(value))}\n`;
    if (batch.length < BATCH_CHARACTERS) continue;
    await channel.write(Buffer.from(batch));
    batch = '';
  }
  if (batch !== '') await channel.write(Buffer.from(batch));
}

function parentOf(name: string): string | null {
  return layerInfo(name).parent ?? null;
}

function describeChange(change: EngineChange): Change {
  const path = `/${change.path.toString()}`;
  const kind = change.kind === ADDED ? 'added' : change.kind === DELETED ? 'deleted' : 'changed';
  const isText = Buffer.from(path.slice(1)).equals(change.path);
  return isText ? { kind, path } : { kind, path, pathBase64: change.path.toString('base64') };
}

interface ExportArgs extends Compared {
  whole: boolean;
}

async function exportTar(args: ExportArgs, channel: TaskChannel, mapped: MappedWrites): Promise<void> {
  // A base that is not there is refused before the first byte.
  await bringInBoth(args, mapped);
  const { name, base, whole } = args;
  for (const chunk of exportLayer(name, whole ? null : (base ?? parentOf(name)))) await channel.write(chunk);
}

interface NewContent {
  name: string;
  parent: string | null;
}

/** Makes a layer of the tar that comes in. Whatever goes wrong, the layer is gone again. */
async function importLayer(
  { name, parent }: NewContent,
  channel: TaskChannel,
  announce: Announce,
  mapped: MappedWrites,
): Promise<ImportReport> {
  if (parent !== null) await mapped.bringIn(parent); // which is sealed by it
  const index = createLayer(name, { parent: parent ?? undefined, properties: UNFINISHED_MARK });
  holdLayer(name);
  let result: ImportResult;
  try {
    result = await applyTar(new LayerImport(index), channel);
  } catch (error) {
    releaseLayer(name);
    removeLayer(name);
    throw error;
  }
  releaseLayer(name);
  updateLayer(name, { seal: true, properties: { [UNFINISHED]: null } });
  checkpoint();
  announce(name);
  return { layer: describeLayer(layerInfo(name)), bytes: result.archiveBytes, entries: result.entries };
}

async function applyTar(work: LayerImport, channel: TaskChannel): Promise<ImportResult> {
  try {
    for await (const chunk of channel.read()) work.write(chunk);
    const result = work.finish();
    if (!result.ended) throw new LcfsError('invalid', 'the archive has no end marker: it was cut off; nothing was kept of it');
    return result;
  } finally {
    work.abort();
  }
}

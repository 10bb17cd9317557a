/**
 * `lcfs gc`: layers that nobody knows any more. A crash may leave a layer whose engine never came to know it, or an import
 * cut off in the middle; and an engine that lost its database has forgotten all its layers.
 *
 *   1. survey: all layers, and who had each made
 *   2. each engine that had layers made is asked which of them it knows
 *   3. `findLost` decides, and 4. what it finds is removed if wanted, children first, after the engines were asked once more
 *
 * In doubt a layer stays. G1: no layer is lost unless its engine was asked successfully (or is said to be gone) and does not
 * know it. G2: all layers built on a lost one are lost. G3: nothing that is mounted, held, or younger than the grace time is
 * lost. G4: what was made by hand is not, unless it is named.
 */
import { LcfsError } from '../engine/errors.js';
import type { LayerIndex } from '../layout/constants.js';
import type { DriverThread } from './drivers.js';
import type { SurveyedLayer } from './gc-survey.js';
import { mountedLayers } from './mounted-layers.js';
import { ENGINES, type EngineName, type GcReport, type GcRequest, type LostLayer } from './protocol.js';
import type { TaskThread } from './tasks.js';

const GRACE_SECONDS = 3600;

/** What the collector needs of the daemon. */
export interface GcContext {
  mountpoint: string;
  tasks: Pick<TaskThread, 'run'>;
  /** The drivers that are served. */
  drivers: { readonly [Engine in EngineName]?: Pick<DriverThread, 'claims' | 'removeUnclaimed'> };
}

/** What is known about the layers at a moment. */
export interface Knowledge {
  /** When the first engine was asked, in milliseconds since 1970. */
  readonly since: number;
  readonly layers: readonly SurveyedLayer[];
  /** For each engine that had layers made: who was asked; absent if it could not be asked. */
  readonly asked: ReadonlyMap<EngineName, string>;
  readonly notAsked: GcReport['notAsked'];
  /** Layers that their engine knows. */
  readonly known: ReadonlySet<LayerIndex>;
  /** Last uses by engines, in milliseconds since 1970. */
  readonly used: ReadonlyMap<LayerIndex, number>;
  /** Names of layers that are mounted somewhere. */
  readonly mounted: ReadonlySet<string>;
}

export async function collectGarbage(context: GcContext, request: GcRequest): Promise<GcReport> {
  const knowledge = await learn(context, request);
  refuseStrangers(knowledge.layers, request.names ?? []);
  const lost = findLost(knowledge, request);
  if (request.remove === true && lost.length > 0) await removeAll(context, request, lost);
  return { layers: lost, notAsked: [...knowledge.notAsked] };
}

/** Names must be those of layers, as nothing said about one is mistaken for nothing found. */
function refuseStrangers(layers: readonly SurveyedLayer[], names: readonly string[]): void {
  const there = new Set(layers.map(({ name }) => name));
  const missing = names.find((name) => !there.has(name));
  if (missing !== undefined) throw new LcfsError('not-found', `there is no layer "${missing}"; lcfs layer ls lists the layers`);
}

async function learn({ mountpoint, tasks, drivers }: GcContext, request: GcRequest): Promise<Knowledge> {
  const since = Date.now();
  const layers = await tasks.run<SurveyedLayer[]>('surveyLayers', {});
  const asked = new Map<EngineName, string>();
  const notAsked: GcReport['notAsked'] = [];
  const known = new Set<LayerIndex>();
  const used = new Map<LayerIndex, number>();
  for (const engine of ENGINES) {
    const made = layers.filter(({ maker }) => maker === engine);
    if (made.length === 0) continue;
    try {
      const claims = await ask(engine, drivers[engine], made, request);
      asked.set(engine, claims.asked);
      for (const layer of claims.known) known.add(layer);
      for (const [layer, time] of claims.used) used.set(layer, time);
    } catch (error) {
      if (!(error instanceof LcfsError)) throw error;
      notAsked.push({ engine, layers: made.length, why: error.message });
    }
  }
  // Last, so that what an engine has mounted meanwhile is seen.
  return { since, layers, asked, notAsked, known, used, mounted: await mountedLayers(mountpoint) };
}

interface Said {
  asked: string;
  known: readonly LayerIndex[];
  used: ReadonlyMap<LayerIndex, number>;
}

async function ask(
  engine: EngineName,
  driver: GcContext['drivers'][EngineName],
  layers: SurveyedLayer[],
  request: GcRequest,
): Promise<Said> {
  if (request.gone?.includes(engine) === true) return { asked: `${engine}, which is gone,`, known: [], used: new Map() };
  if (driver === undefined)
    throw new LcfsError(
      'state',
      `this daemon does not serve it: start it with --${engine}, or say --gone ${engine} if it is gone for good`,
    );
  const named = layers.map(({ index, name }) => ({ index, name }));
  return driver.claims(named, engine === 'docker' ? (request.dockerRoots ?? []) : []);
}

/** The layers that nobody knows, children before their parents. */
export function findLost(knowledge: Knowledge, request: Pick<GcRequest, 'names' | 'olderThanSeconds'>, now = Date.now()): LostLayer[] {
  const youngest = now - (request.olderThanSeconds ?? GRACE_SECONDS) * 1000;
  const names = new Set(request.names);
  const kept = new Set<LayerIndex>();
  const lost: LostLayer[] = [];
  // A layer is made after its parent, so that its index is higher.
  for (const layer of knowledge.layers.toSorted((a, b) => b.index - a.index)) {
    const why = kept.has(layer.index) ? null : whyLost(layer, knowledge, names);
    const seen = Math.max(layer.created, knowledge.used.get(layer.index) ?? 0);
    if (why === null || seen > youngest || isInUse(layer, knowledge)) kept.add(layer.parent).add(layer.index);
    else lost.push(report(layer, why, now - seen));
  }
  return lost;
}

/** A part of a sentence; null if somebody may know the layer. */
function whyLost({ index, name, maker }: SurveyedLayer, { asked, known }: Knowledge, names: ReadonlySet<string>): string | null {
  if (maker === 'hand') return names.has(name) ? 'it is named' : null;
  if (maker === 'import') return 'its import was cut off';
  const who = asked.get(maker);
  return who === undefined || known.has(index) ? null : `${who} does not know it`;
}

function isInUse({ name, holders }: SurveyedLayer, { mounted }: Knowledge): boolean {
  return holders > 0 || mounted.has(name);
}

function report({ index, name, ownBytes }: SurveyedLayer, why: string, age: number): LostLayer {
  return { index, name, ownBytes, ageSeconds: Math.max(0, Math.round(age / 1000)), why, removed: false };
}

/** Removes those that are still lost when everybody is asked again, and notes in each what became of it. */
async function removeAll(context: GcContext, request: GcRequest, found: readonly LostLayer[]): Promise<void> {
  const knowledge = await learn(context, request);
  const still = new Map(findLost(knowledge, request).map(({ index }) => [index, index]));
  const makers = new Map(knowledge.layers.map(({ index, maker }) => [index, maker]));
  for (const layer of found) {
    if (!still.has(layer.index)) layer.failure = 'somebody uses it again';
    else await removeOne(context, makers.get(layer.index), layer, knowledge.since);
  }
}

async function removeOne({ tasks, drivers }: GcContext, maker: string | undefined, layer: LostLayer, since: number): Promise<void> {
  const { index, name } = layer;
  const driver = maker === 'docker' || maker === 'containerd' ? drivers[maker] : undefined;
  try {
    if (driver === undefined) await tasks.run('removeLost', { index, name });
    else await driver.removeUnclaimed({ index, name }, since);
    layer.removed = true;
  } catch (error) {
    if (!(error instanceof LcfsError)) throw error;
    layer.failure = error.message;
  }
}

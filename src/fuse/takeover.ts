/**
 * What a process does that carries on where another one died, beside serving: the shared tables are made right before anybody
 * uses them, and what the dead process left undone is done when requests are served again.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { layerIndices } from '../engine/layers.js';
import { orphansOf } from '../engine/orphans.js';
import { GLOBAL_LAYER, type Ino, type LayerIndex } from '../layout/constants.js';
import { allowedCpus, onlineCpus, pinThread } from '../linux/affinity.js';
import { closeBacking } from './backing.js';
import { BehindTable, type Behind } from './behind.js';
import { reapIfForgotten } from './forget.js';
import { kernelKnows, kernelKnowsShared } from './notify.js';
import { endForgotten, listOpenings, recount, useOpenFiles } from './open-files.js';
import { DIRECT, Openings, PASSING } from './openings.js';
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

/** Until a queue that could not be woken is tried again, at first; it doubles up to the other. */
const AGAIN_MS = 100;
const AGAIN_MS_MAX = 10_000;

/**
 * Has a request sent from every CPU: what came while nobody served waits in the queue of its CPU until another request comes
 * there. Other processes send it: one that serves must not wait for itself, as it could not even be killed meanwhile, and its
 * descriptors would never close. A request that fails may have gone to an entry of the dead process, which the kernel had not
 * taken back yet, and has woken nobody: another one is sent.
 */
export class Waker {
  private readonly directory: () => string | undefined;
  private readonly children = new Set<ChildProcess>();
  private readonly timers = new Set<NodeJS.Timeout>();
  private isStopped = false;

  /** `directory`: one on the mount; undefined if there is none that can be reached. */
  constructor(directory: () => string | undefined) {
    this.directory = directory;
  }

  /** Returns at once. */
  start(): void {
    this.isStopped = false;
    const before = allowedCpus();
    for (const cpu of onlineCpus()) this.wake(cpu, AGAIN_MS);
    pinThread(before);
  }

  /** Whether there is still something to wake. */
  get isWaking(): boolean {
    return this.timers.size + this.children.size > 0;
  }

  /** Settles when no process of this one uses the mount any more. Returns `isWaking` of before. */
  async stop(): Promise<boolean> {
    const { isWaking } = this;
    this.isStopped = true;
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
    const ends = [...this.children].map((child) => {
      child.ref(); // now it is waited for
      child.kill('SIGKILL');
      return once(child, 'exit');
    });
    await Promise.all(ends);
    return isWaking;
  }

  /** Leaves the calling thread on that CPU. If it fails, it is tried again after `againMs`. */
  private wake(cpu: number, againMs: number): void {
    const directory = this.directory();
    if (directory === undefined) return;
    pinThread([cpu]); // which the process that is started inherits
    try {
      // As every `stat` understands it, that of busybox, too.
      const child = spawn('stat', ['-f', '-c', '', directory], { stdio: 'ignore' });
      child.on('error', () => this.wakeAgain(cpu, againMs)).on('exit', (code) => this.hear(child, code === 0, cpu, againMs));
      // Without a pid it has not been started, and will not end.
      if (child.pid !== undefined) this.children.add(child);
      child.unref();
    } catch {
      this.wakeAgain(cpu, againMs); // no memory, for instance
    }
  }

  private hear(child: ChildProcess, isAnswered: boolean, cpu: number, againMs: number): void {
    this.children.delete(child);
    if (!isAnswered) this.wakeAgain(cpu, againMs);
  }

  private wakeAgain(cpu: number, againMs: number): void {
    if (this.isStopped) return;
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      const before = allowedCpus();
      this.wake(cpu, Math.min(againMs * 2, AGAIN_MS_MAX));
      pinThread(before);
    }, againMs).unref();
    this.timers.add(timer);
  }
}

/** What the dead process may have taken along: FORGETs of files without names, and RELEASEs (over io_uring). */
export interface Left {
  readonly nameless: readonly { readonly layer: LayerIndex; readonly ino: Ino }[];
  readonly openings: ReturnType<typeof listOpenings>;
}

/** All files without names, and all openings, before anything is served. */
export function listLeft(): Left {
  const nameless: { layer: LayerIndex; ino: Ino }[] = [];
  for (const layer of allLayers()) for (const ino of orphansOf(layer)) nameless.push({ layer, ino });
  return { nameless, openings: listOpenings() };
}

function* allLayers(): Generator<LayerIndex> {
  yield GLOBAL_LAYER;
  for (let from = 1; ;) {
    const layers = layerIndices(from, LAYER_BATCH);
    yield* layers;
    if (layers.length < LAYER_BATCH) return;
    from = layers.at(-1)! + 1;
  }
}

/**
 * Ends openings and frees files that the kernel does not know. To be called a while after they were listed: a file that was
 * just made without a name is not known before its maker has taken the answer. Returns what is to be looked at again: the kernel keeps
 * an inode in its cache after the RELEASE that was lost. It will send the FORGETs of files without names.
 */
export function reapForgotten(tables: Tables, device: number, { nameless, openings }: Left): Left {
  const last = endForgotten(openings, ({ flags, layer, ino }) =>
    (flags & (PASSING | DIRECT)) === 0 ? kernelKnows(device, layer, ino) : kernelKnowsShared(device, layer, ino),
  );
  const isHeld = sharedHolders(tables);
  for (const { layer, ino } of nameless) reapIfForgotten(device, layer, ino, isHeld);
  return { nameless: [], openings: last };
}

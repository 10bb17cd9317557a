/**
 * The arena: one SharedArrayBuffer that holds all state of the open volume, divided into regions once, when the volume is
 * opened. Every thread attaches to it (`attachArena`) and from then on reaches everything through `layout/memory.ts`.
 *
 * Memory that is never touched is never backed by the kernel, so the bitmaps are reserved for a volume that may still
 * grow, at no cost. Addresses are word indices.
 *
 *   0          globals (GLOBALS below), the first 4 KiB
 *   THREADS    scratch of each thread: 16 KiB
 *   WINDOWS    allocation windows
 *   STATS      operation counters (stats.ts)
 *   ORPHANS    how many orphans there are of each hash (orphans.ts)
 *   SLOTS      layer slots and their hash buckets
 *   STRIPES    locks and versions of the pager's hash buckets
 *   FRAMES     frame tables of the pager, hash buckets, then the frames themselves, page aligned
 *   RUN        pages on their way to the device, in runs
 *   GROUPS     counters of the block groups
 *   BITMAPS    allocation bitmap, two bitmaps of pending frees, and one of fresh data
 *   LOG        memory of the intent log, a file of its own that is mapped here (log-memory.ts); its ring is mapped twice
 */
import { addressOf } from '../linux/libc.js';
import { BLOCK_BYTES, BLOCK_WORDS, GROUP_BLOCKS } from '../layout/constants.js';
import { B, I, W, mapMemory } from '../layout/memory.js';
import { SLOT_WORDS, WINDOW_WORDS } from '../layout/records.js';

/** Threads that ever attach: those of two connections, of the drivers, and what is started anew. 4 MiB, of which what is used is backed. */
export const THREADS_MAX = 256;
export const THREAD_WORDS = 4096;
export const WINDOW_COUNT = 64;
/** A slot for each layer that is being worked on; others come and go. 4,096 × 256 bytes = 1 MiB. */
export const SLOT_COUNT = 4096;
export const SLOT_BUCKETS = 8192;
export const STRIPE_COUNT = 1024;
/** 4 MiB of operation counters. */
export const STATS_WORDS = 1 << 20;

/** 16 KiB: of the thousands of files that a container has, hardly any shares its counter with an orphan. */
export const ORPHAN_COUNTERS = 4096;

/** Global words. Lock words first, in the order in which they may be taken (see locks.ts). */
export const CHECKPOINT_MUTEX = 1;
export const CHECKPOINT_LOCK = 2;
export const SLOTS_LOCK = 3;
export const CATALOG_LOCK = 4;
export const SPACE_LOCK = 5;
export const LOG_LOCK = 6;
export const GENERATION = 16;
export const TOTAL_BLOCKS = 17;
/** Blocks that may be allocated now, those set aside in windows included. More than 2^31 on volumes beyond 8 TiB. */
export const FREE_BLOCKS = 18;
/** Blocks promised to operations that are under way, and for saving slots (slots.ts). */
export const ADMITTED_BLOCKS = 20;
/** Blocks freed in the generation of this parity, allocatable when its checkpoint is complete. */
export const PENDING_BLOCKS = 21; // and 22
export const RESERVE_BLOCKS = 23;
export const NEXT_LAYER = 24;
/** Root of the catalog: block, owner, generation, as in a layer record. */
export const CATALOG_ROOT = 25; // to 27
export const LAYER_COUNT = 28;
export const FRAME_HAND = 29;
/** Frames in use by the pager: `lcfs pcache` changes it, up to FRAME_COUNT. */
export const FRAME_LIMIT = 30;
export const DIRTY_PAGES = 31;
/** 1 when something changed since the last checkpoint was closed. */
export const CHANGED = 32;
/** Counts up when the maintenance thread should look; it waits on this word. */
export const MAINTENANCE_BELL = 33;
export const THREADS_ATTACHED = 34;
export const WINDOW_TICK = 35;
export const SLOT_HAND = 36;
export const REMOVING_LAYERS = 37;
export const HASH_KEY = 38; // and 39
export const UUID = 40; // to 43
export const CREATED = 44; // and 45
export const PAGES_READ = 46;
export const PAGES_WRITTEN = 47;
export const CHECKPOINTS = 48;
/** Seconds between checkpoints, × 1000. */
export const SYNC_INTERVAL_MS = 49;
/** 1: fsync waits for the device; 0: it returns at once (durability.ts). */
export const FSYNC_STRICT = 50;
export const OPENED_CLEAN = 51;
/** Not 0 once the device failed: nothing is changed or acknowledged as durable any more (read-only.ts says why). */
export const DEVICE_FAILED = 52;
export const MAINTENANCE_STOP = 53;
/** WINDOW_TICK at the last checkpoint. */
export const IDLE_TICK = 54;
/** Layers that somebody holds. */
export const HELD_LAYERS = 55;
/** Generation of the checkpoint that the volume was opened at. */
export const OPENED_GENERATION = 56;
/** Generation whose checkpoint is complete, but what was freed in it not allocatable yet; 0: none. */
export const UNSETTLED = 57;
/** 1 once a change of the catalog was cut off by a device error. */
export const CATALOG_BROKEN = 58;
/** 1 while changes are written to the intent log. */
export const LOGGING = 59;
/** Words of the log that are promised to operations under way. */
export const LOG_RESERVED = 60;
/** Position in the log where the generation that was closed last ends. */
export const LOG_CLOSED = 61;
/** Scrub (scrub.ts): KiB a second; 0: off. */
export const SCRUB_RATE_KIB = 80;
/** Counts up when the scrubbing thread should look; it waits on this word. */
export const SCRUB_BELL = 81;
export const SCRUB_STOP = 82;
/** What a command asked for. */
export const SCRUB_ORDER = 83;
export const SCRUB_STATE = 84;
/** Blocks read in the pass that runs, or in the last one, and blocks in use when it began. */
export const SCRUB_DONE = 85;
export const SCRUB_TOTAL = 86;
/** Blocks that could not be read in it, and those that were written again. */
export const SCRUB_DAMAGED = 87;
export const SCRUB_MENDED = 88;
/** Complete passes; when the last one ended, in seconds since 1970, and the damage it found. */
export const SCRUB_PASSES = 89;
export const SCRUB_ENDED = 90;
export const SCRUB_FOUND = 91;
/** Blocks of the device that belong to the intent log. */
export const LOG_BLOCKS = 62;
/** Where the log begins that belongs to the last complete checkpoint: position in blocks, number of the batch, generation. */
export const LOG_START = 63;
export const LOG_START_SEQUENCE = 64;
export const LOG_START_GENERATION = 65;
/** 1 while the log of the checkpoint that the volume was opened at has still to be replayed. */
export const REPLAY_PENDING = 66;
/** Operations that were replayed when the volume was opened. */
export const REPLAYED = 67;
const GLOBALS_WORDS = 1024;
/** 1 MiB: long enough that the device's cost per request does not count. */
export const RUN_BLOCKS = 256;
/** A checkpoint looks for dirty pages in groups of so many frames, so that it costs little where little is dirty. */
export const DIRTY_GROUP_FRAMES = 64;

/** What another thread of the process needs to attach. Survives structured cloning. */
export interface ArenaShape {
  readonly memory: SharedArrayBuffer;
  readonly frames: number;
  readonly groupsMax: number;
  /** Words of the log's memory, its ring counted twice; 0 without a log. */
  readonly logWords: number;
}

export let memory: SharedArrayBuffer = new SharedArrayBuffer(0);
/** Machine address of word 0. */
export let arenaAddress = 0;
export let FRAME_COUNT = 0;
export let GROUPS_MAX = 0;
export let THREADS_AT = 0;
export let WINDOWS_AT = 0;
export let STATS_AT = 0;
export let ORPHANS_AT = 0;
export let SLOT_BUCKETS_AT = 0;
export let SLOTS_AT = 0;
export let STRIPES_AT = 0;
export let FRAME_BLOCK = 0;
export let FRAME_STATE = 0;
export let FRAME_NEXT = 0;
export let FRAME_DIRTY = 0;
export let FRAME_USED = 0;
/** One word for each DIRTY_GROUP_FRAMES frames: not 0 if one of them may be dirty. */
export let FRAME_DIRTY_GROUPS = 0;
export let FRAME_BUCKETS = 0;
export let BUCKET_MASK = 0;
export let PAGES_AT = 0;
/** Where the checkpoint gathers pages of neighbouring blocks. */
export let RUN_AT = 0;
export let GROUP_FREE = 0;
export let GROUP_DIRTY = 0;
export let GROUP_PENDING = 0;
export let BITMAP_AT = 0;
export let PENDING_AT = 0;
/** Bits of data blocks that no batch of the log refers to yet, and which groups have any. */
export let FRESH_AT = 0;
export let GROUP_FRESH = 0;
/** Memory of the intent log. */
export let LOG_AT = 0;
/** Words of one bitmap over all groups. */
export let BITMAP_WORDS = 0;
/** Scratch words of this thread. */
export let scratchAt = 0;

function powerOfTwoFrom(count: number): number {
  let size = 1;
  while (size < count) size *= 2;
  return size;
}

/** Lays the regions out, `skewWords` later than they might, and returns the size of the arena in words. */
function layRegions(frames: number, groupsMax: number, logWords: number, skewWords: number): number {
  let at = GLOBALS_WORDS + skewWords;
  const take = (words: number): number => {
    const start = at;
    at += Math.ceil(words / BLOCK_WORDS) * BLOCK_WORDS;
    return start;
  };
  FRAME_COUNT = frames;
  GROUPS_MAX = groupsMax;
  THREADS_AT = take(THREADS_MAX * THREAD_WORDS);
  WINDOWS_AT = take(WINDOW_COUNT * WINDOW_WORDS);
  STATS_AT = take(STATS_WORDS);
  ORPHANS_AT = take(ORPHAN_COUNTERS);
  SLOT_BUCKETS_AT = take(SLOT_BUCKETS);
  SLOTS_AT = take(SLOT_COUNT * SLOT_WORDS);
  STRIPES_AT = take(STRIPE_COUNT * 2);
  FRAME_BLOCK = take(frames);
  FRAME_STATE = take(frames);
  FRAME_NEXT = take(frames);
  FRAME_DIRTY = take(frames);
  FRAME_USED = take(frames);
  FRAME_DIRTY_GROUPS = take(Math.ceil(frames / DIRTY_GROUP_FRAMES));
  BUCKET_MASK = powerOfTwoFrom(frames * 2) - 1;
  FRAME_BUCKETS = take(BUCKET_MASK + 1);
  PAGES_AT = take(frames * BLOCK_WORDS);
  RUN_AT = take(RUN_BLOCKS * BLOCK_WORDS);
  GROUP_FREE = take(groupsMax);
  GROUP_DIRTY = take(groupsMax);
  GROUP_PENDING = take(groupsMax * 2);
  BITMAP_WORDS = groupsMax * (GROUP_BLOCKS / 32);
  BITMAP_AT = take(BITMAP_WORDS);
  PENDING_AT = take(BITMAP_WORDS * 2);
  FRESH_AT = take(BITMAP_WORDS);
  GROUP_FRESH = take(groupsMax);
  LOG_AT = take(logWords);
  return at;
}

/**
 * Makes a new arena for `frames` cached pages, a volume that may grow to `groupsMax` groups and `logWords` words at LOG_AT,
 * and attaches to it.
 */
export function createArena(frames: number, groupsMax: number, logWords = 0): ArenaShape {
  // One page more, so that frames can be aligned to pages of the machine whatever address the buffer has.
  const words = layRegions(frames, groupsMax, logWords, BLOCK_WORDS);
  const shape = { memory: new SharedArrayBuffer(words * 4), frames, groupsMax, logWords };
  attachArena(shape);
  return shape;
}

/** Attaches the calling thread, once, and gives it scratch of its own. */
export function attachArena(shape: ArenaShape): void {
  memory = shape.memory;
  mapMemory(shape.memory);
  arenaAddress = addressOf(B);
  layRegions(shape.frames, shape.groupsMax, shape.logWords, ((BLOCK_BYTES - (arenaAddress % BLOCK_BYTES)) % BLOCK_BYTES) / 4);
  const thread = Atomics.add(I, THREADS_ATTACHED, 1);
  if (thread >= THREADS_MAX) throw new Error(`more than ${THREADS_MAX} threads attached to the volume`);
  scratchAt = THREADS_AT + thread * THREAD_WORDS;
}

/** Machine address of a word of the arena. */
export function addressOfWord(at: number): number {
  return arenaAddress + at * 4;
}

export function generation(): number {
  return W[GENERATION]!;
}

/**
 * Storage options: `dockerd --storage-opt lcfs.size=20G`, `docker run --storage-opt size=10G`; and `--storage-opt
 * lcfs.fsync=strict` for both: what fsync promises to all containers, or to one.
 */
import { LcfsError } from '../../engine/errors.js';
import type { FsyncMode } from '../../engine/layers.js';

/** Settings that a Docker Engine gives at Init. */
export interface EngineOptions {
  /** Limit of what a container may write, in bytes, where its own options name none; 0: no limit. */
  defaultQuotaBytes: number;
  /** What fsync promises where a container's own options do not say; without, what the daemon says. */
  defaultFsync?: FsyncMode;
}

/** Settings of one container. */
export interface ContainerOptions {
  /** Limit in bytes; 0: none. */
  quotaBytes: number;
  fsync?: FsyncMode;
}

/** `10G`, `10GB`, `10GiB`, `1.5t`, `4096`: as Docker reads sizes, in powers of 1024. */
const SIZE = /^(\d+(?:\.\d+)?) ?(?:([kmgtp])(?:i?b)?|b)?$/i;
const UNITS = 'kmgtp';

/** Bytes that `text` means; throws LcfsError `invalid`. */
export function parseSize(option: string, text: string): number {
  const match = SIZE.exec(text.trim());
  const power = match?.[2] === undefined ? 0 : UNITS.indexOf(match[2].toLowerCase()) + 1;
  const bytes = match === null ? NaN : Math.floor(Number(match[1]) * 1024 ** power);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new LcfsError('invalid', `storage option ${option}: '${text}' is not a size above 0; write for example 10G`);
}

/** Reads the options of dockerd. Throws LcfsError `invalid` for one that is not known. */
export function parseEngineOptions(options: readonly string[]): EngineOptions {
  const parsed: EngineOptions = { defaultQuotaBytes: 0 };
  for (const option of options) {
    const [key = '', value = ''] = option.split(/=(.*)/s);
    const name = key.trim().toLowerCase();
    if (name === 'lcfs.size') parsed.defaultQuotaBytes = parseSize('lcfs.size', value);
    else if (name === FSYNC) parsed.defaultFsync = parseFsync(value);
    else throw unknownOption(key, `lcfs.size and ${FSYNC} (of dockerd)`);
  }
  return parsed;
}

/** What the options of one container ask for, and otherwise the engine's. Throws LcfsError `invalid`. */
export function parseContainerOptions(options: Readonly<Record<string, string>>, engine: EngineOptions): ContainerOptions {
  const parsed: ContainerOptions = { quotaBytes: engine.defaultQuotaBytes };
  if (engine.defaultFsync !== undefined) parsed.fsync = engine.defaultFsync;
  for (const [key, value] of Object.entries(options)) {
    const name = key.toLowerCase();
    if (name === 'size') parsed.quotaBytes = parseSize('size', value);
    else if (name === FSYNC) parsed.fsync = parseFsync(value);
    else throw unknownOption(key, `size and ${FSYNC}`);
  }
  return parsed;
}

const FSYNC = 'lcfs.fsync';

function parseFsync(value: string): FsyncMode {
  const mode = value.trim().toLowerCase();
  if (mode === 'strict' || mode === 'relaxed') return mode;
  throw new LcfsError('invalid', `storage option ${FSYNC}: '${value}' is neither strict nor relaxed`);
}

const unknownOption = (key: string, known: string): LcfsError =>
  new LcfsError('invalid', `unknown storage option '${key}'; lcfs knows ${known}`);

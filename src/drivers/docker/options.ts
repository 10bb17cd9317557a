/** Storage options: `dockerd --storage-opt lcfs.size=20G` and `docker run --storage-opt size=10G`. */
import { LcfsError } from '../../engine/errors.js';

/** Settings that a Docker Engine gives at Init. */
export interface EngineOptions {
  /** Limit of what a container may write, in bytes, where its own options name none; 0: no limit. */
  defaultQuotaBytes: number;
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
  let defaultQuotaBytes = 0;
  for (const option of options) {
    const [key = '', value = ''] = option.split(/=(.*)/s);
    if (key.trim().toLowerCase() !== 'lcfs.size') throw unknownOption(key, 'lcfs.size (of dockerd)');
    defaultQuotaBytes = parseSize('lcfs.size', value);
  }
  return { defaultQuotaBytes };
}

/** Limit in bytes that the options of one container ask for; 0: none. Throws LcfsError `invalid`. */
export function parseContainerQuota(options: Readonly<Record<string, string>>, defaultQuotaBytes: number): number {
  let quotaBytes = defaultQuotaBytes;
  for (const [key, value] of Object.entries(options)) {
    if (key.toLowerCase() !== 'size') throw unknownOption(key, 'size');
    quotaBytes = parseSize('size', value);
  }
  return quotaBytes;
}

const unknownOption = (key: string, known: string): LcfsError =>
  new LcfsError('invalid', `unknown storage option '${key}'; lcfs knows ${known}`);

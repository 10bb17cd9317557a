/**
 * What a Docker Engine said at Init, kept with the volume: when this daemon restarts while Docker runs on, Docker does not
 * say it again. It lies in an extended attribute of the global layer's root directory.
 */
import type { IdMaps } from '../../archive/id-map.js';
import { LcfsError } from '../../engine/errors.js';
import type { FsyncMode } from '../../engine/layers.js';
import { getXattr, setXattr } from '../../engine/xattr.js';
import { GLOBAL_LAYER, ROOT_INO, XATTR_BYTES_MAX } from '../../layout/constants.js';
import { ENODATA } from '../../linux/errno.js';

export interface EngineSettings {
  /** Docker's folder for the driver; tells one Docker Engine from another. */
  home: string;
  /** The folders of all Docker Engines that ever used the volume. Missing in settings of earlier versions. */
  homes?: readonly string[];
  /** Limit for containers that name none, in bytes; 0: no limit. */
  defaultQuotaBytes: number;
  /** What fsync promises to containers that do not say; without, what the daemon says. */
  defaultFsync?: FsyncMode;
  maps: IdMaps;
  /**
   * What the engine was told: that images are given back byte by byte as they came, so that it keeps nothing of their archives
   * itself. Missing in settings of earlier versions: it was told no.
   */
  exactDiffs?: boolean;
}

export const NO_SETTINGS: EngineSettings = { home: '', defaultQuotaBytes: 0, maps: {} };

/** Only root can see it. */
const NAME = Buffer.from('trusted.lcfs.docker');

/** The settings that were stored last; none if no Docker ever used the volume. */
export function loadSettings(): EngineSettings {
  const value = Buffer.alloc(XATTR_BYTES_MAX);
  const length = getXattr(GLOBAL_LAYER, ROOT_INO, NAME, 0, NAME.length, value, 0, value.length);
  if (length === -ENODATA) return NO_SETTINGS;
  if (length < 0) throw new LcfsError('io', `the settings of the Docker Engine cannot be read (error ${-length})`);
  return JSON.parse(value.toString('utf8', 0, length)) as EngineSettings;
}

/** All engines that ever introduced themselves, as far as is known. */
export function homesIn({ home, homes = [] }: EngineSettings): string[] {
  return [...new Set([...homes, home])].filter((name) => name !== '');
}

/** Stores settings that differ from `known`; on a full volume Docker can still start with the same settings. */
export function storeSettings(settings: EngineSettings, known: EngineSettings): void {
  const text = JSON.stringify(settings);
  if (text === JSON.stringify(known)) return;
  const value = Buffer.from(text);
  const result = setXattr(GLOBAL_LAYER, ROOT_INO, NAME, 0, NAME.length, value, 0, value.length, 0, false);
  if (result < 0) throw new LcfsError('io', `the settings of the Docker Engine cannot be stored (error ${-result})`);
}

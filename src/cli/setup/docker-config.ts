/**
 * The configuration of Docker that makes it keep images and containers on LCFS.
 *
 *   up to 27   LCFS is a graph driver plugin, which Docker takes as an experimental feature; 27 also wants a variable in
 *              its environment. Docker's own files go to the volume, too: it syncs thirty of them for each container, and
 *              they need no more than to be as old as the layers that they tell of
 *   from 28    there are no such plugins any more: images are kept by containerd, with LCFS as its snapshotter
 */
import { SNAPSHOTTER } from './containerd-config.js';
import { isAtLeast, type Version } from './version.js';

export const DOCKER_FILE = '/etc/docker/daemon.json';
/** What Docker 27 must find in its environment before it takes a graph driver plugin. */
const PLUGINS_VARIABLE = 'DOCKERD_DEPRECATED_GRAPHDRIVER_PLUGINS';
/** Names the folder for what Docker keeps for a moment; otherwise it is below the data root. Docker makes it. */
const TEMPORARY_VARIABLE = 'DOCKER_TMPDIR';

/** Below the mount point; the ending tells our setting from one that somebody made since. */
const DATA_ROOT = '/global/docker';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

/** Whether this Docker has its images in containerd, rather than in a graph driver. */
export function usesContainerd(version: Version): boolean {
  return isAtLeast(version, 28);
}

/** What dockerd must find in its environment, as NAME=VALUE; `temporary` is the folder for its temporary files, if one is wanted. */
export function dockerVariables(version: Version, temporary: string | undefined): string[] {
  const plugins = version.major === 27 ? [`${PLUGINS_VARIABLE}=1`] : [];
  return temporary === undefined ? plugins : [...plugins, `${TEMPORARY_VARIABLE}=${temporary}`];
}

/** Where Docker's own files lie on a volume. */
const dataRoot = (mountpoint: string): string => `${mountpoint.replace(/\/$/, '')}${DATA_ROOT}`;

/**
 * Text of daemon.json with what LCFS, mounted on `mountpoint`, needs; the other settings and their order stay, a place for
 * Docker's own files among them. Throws if it is not JSON.
 */
export function dockerConfig(text: string | null, version: Version, mountpoint: string): string {
  const settings = parse(text);
  if (usesContainerd(version)) settings['features'] = { ...object(settings['features']), 'containerd-snapshotter': true };
  else {
    settings['experimental'] = true;
    settings['data-root'] ??= dataRoot(mountpoint);
  }
  settings['storage-driver'] = SNAPSHOTTER;
  return format(settings);
}

/**
 * Takes out of daemon.json what `dockerConfig` put in, whatever else has changed since. `before` is the text from before.
 * Returns null if nothing is left of a file that was not there before, and the text itself if Docker no longer uses LCFS.
 */
export function withoutDockerConfig(text: string, before: string | null): string | null {
  const settings = parse(text);
  const earlier = parse(before);
  if (settings['storage-driver'] !== SNAPSHOTTER) return text;
  restore(settings, earlier, 'storage-driver');
  if (object(settings['features'])['containerd-snapshotter'] === true) restoreFeature(settings, earlier);
  else restoreGraphDriver(settings, earlier);
  if (before !== null && format(settings) === format(earlier)) return before;
  return before === null && Object.keys(settings).length === 0 ? null : format(settings);
}

function restoreGraphDriver(settings: JsonObject, earlier: JsonObject): void {
  restore(settings, earlier, 'experimental');
  if (String(settings['data-root']).endsWith(DATA_ROOT)) restore(settings, earlier, 'data-root');
}

function restoreFeature(settings: JsonObject, earlier: JsonObject): void {
  const features = object(settings['features']);
  restore(features, object(earlier['features']), 'containerd-snapshotter');
  if (Object.keys(features).length === 0 && earlier['features'] === undefined) delete settings['features'];
  else settings['features'] = features;
}

function restore(settings: JsonObject, earlier: JsonObject, key: string): void {
  if (earlier[key] === undefined) delete settings[key];
  else settings[key] = earlier[key];
}

function parse(text: string | null): JsonObject {
  if (text === null || text.trim() === '') return {};
  return object(JSON.parse(text) as Json);
}

function object(value: Json | undefined): JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? { ...value } : {};
}

const format = (settings: JsonObject): string => `${JSON.stringify(settings, null, 2)}\n`;

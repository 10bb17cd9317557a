/**
 * The configuration of containerd that makes LCFS one of its snapshotters and, from 1.7.4, one of its differs.
 *
 * It is a file of its own that the main configuration imports, because containerd takes tables of plugins from an imported
 * file as a whole: what the user has in config.toml stays as it is, but for one line. An imported file must not have a
 * higher version than the file that imports it, and all files of containerd 1.x must name their plugins in the same way;
 * so the version of the main file decides how ours is written:
 *
 *   none or 1   plugins have short names (`diff-service`); Docker's own packages of containerd install such a file
 *   2 or more   plugins have full names; version 2 is read by every containerd from 1.3 to 2.x
 */
import { isAtLeast, type Version } from './version.js';

/** Name of the snapshotter, as in `ctr --snapshotter lcfs` and Docker's `storage-driver`. */
export const SNAPSHOTTER = 'lcfs';
/** Name of the differ. A table of proxy plugins holds one plugin, so it cannot have the same. */
export const DIFFER = 'lcfs-diff';

export const MAIN_FILE = '/etc/containerd/config.toml';
export const OUR_FILE = '/etc/containerd/conf.d/lcfs.toml';

const HEADER = '# LCFS as a snapshotter of containerd. Written by `lcfs setup`, removed by `lcfs setup --remove`.';

export interface ContainerdTarget {
  version: Version;
  /** Version of the main configuration file. */
  configVersion: number;
  /** Socket on which the daemon of LCFS serves containerd. */
  socket: string;
  mountpoint: string;
  /** As in `linux/amd64`. */
  platform: string;
}

/** Whether containerd takes differs as proxy plugins. */
export function takesDiffers(version: Version): boolean {
  return isAtLeast(version, 1, 7, 4);
}

/** Whether proxy plugins may say more about themselves than type and address. */
function takesExports(version: Version): boolean {
  return isAtLeast(version, 1, 7, 23);
}

/** Text of our own file. */
export function containerdConfig(target: ContainerdTarget): string {
  const differ = takesDiffers(target.version);
  const parts = [HEADER, ...(target.configVersion < 2 ? [] : ['version = 2']), snapshotterTable(target)];
  if (differ) parts.push(differTable(target), diffServiceTable(target), transferTable(target));
  return `${parts.join('\n\n')}\n`;
}

function snapshotterTable({ version, socket, mountpoint }: ContainerdTarget): string {
  const table = proxyPlugin(SNAPSHOTTER, 'snapshot', socket);
  if (!takesExports(version)) return table;
  // Where Kubernetes looks for the space that images take, and leave to send the labels that tell layers apart.
  const exports = [`root = ${quote(mountpoint)}`, 'enable_remote_snapshot_annotations = "true"'];
  return [table, `[proxy_plugins.${SNAPSHOTTER}.exports]`, ...exports.map(indent)].join('\n');
}

function differTable({ socket }: ContainerdTarget): string {
  return proxyPlugin(DIFFER, 'diff', socket);
}

function proxyPlugin(name: string, type: string, socket: string): string {
  return [`[proxy_plugins.${name}]`, ...[`type = ${quote(type)}`, `address = ${quote(socket)}`].map(indent)].join('\n');
}

/** Differs are asked in this order; ours declines what does not lie on its volume. */
function diffServiceTable({ configVersion }: ContainerdTarget): string {
  const name = configVersion < 2 ? 'diff-service' : 'io.containerd.service.v1.diff-service';
  return [`[plugins.${quote(name)}]`, indent(`default = [${quote(DIFFER)}, "walking"]`)].join('\n');
}

/** The transfer service knows no order: each snapshotter names its differ, and one that is not listed is not unpacked to. */
function transferTable({ platform }: ContainerdTarget): string {
  const name = `plugins.${quote('io.containerd.transfer.v1.local')}.unpack_config`;
  const entry = (snapshotter: string, differ: string): string =>
    [
      `[[${name}]]`,
      ...[
        ['platform', platform],
        ['snapshotter', snapshotter],
        ['differ', differ],
      ]
        .map(assignment)
        .map(indent),
    ].join('\n');
  return `${entry(SNAPSHOTTER, DIFFER)}\n${entry('overlayfs', 'walking')}`;
}

const assignment = ([key, value]: string[]): string => `${key} = ${quote(value!)}`;
const indent = (line: string): string => `  ${line}`;
/** A basic string of TOML; its escapes are those of JSON. */
const quote = (text: string): string => JSON.stringify(text);

/** Version that a main configuration file declares; 1 if it declares none, 2 for a file that is not there. */
export function configVersionOf(text: string | null): number {
  if (text === null) return 2;
  return Number(/^\s*version\s*=\s*(\d+)/m.exec(topLevel(text))?.[1] ?? 1);
}

/** What stands before the first table. */
function topLevel(text: string): string {
  const at = text.search(/^\s*\[/m);
  return at < 0 ? text : text.slice(0, at);
}

const IMPORTS = /^[^\S\n]*imports\s*=\s*\[([^\]]*)\]/m;

/** The main configuration with an import of `path`; unchanged if it is imported already. */
export function withImport(text: string | null, path: string): string {
  if (text === null) return `version = 2\n${importLine(path)}`;
  const head = topLevel(text);
  const found = IMPORTS.exec(head);
  if (found === null) return `${endedLine(head)}${importLine(path)}${text.slice(head.length)}`;
  if (imported(found[1]!).some((pattern) => matches(pattern, path))) return text;
  const list = found[1]!.trimEnd().replace(/,$/, '');
  const longer = `${list}${list.trim() === '' ? '' : ', '}${quote(path)}`;
  const changed = found[0].replace(`[${found[1]!}]`, () => `[${longer}]`);
  return text.slice(0, found.index) + changed + text.slice(found.index + found[0].length);
}

const importLine = (path: string): string => `imports = [${quote(path)}]\n`;
const endedLine = (text: string): string => (text === '' || text.endsWith('\n') ? text : `${text}\n`);

function imported(list: string): string[] {
  return [...list.matchAll(/"([^"]*)"|'([^']*)'/g)].map((match) => match[1] ?? match[2]!);
}

/** Whether a pattern of an import names a path; only `*` in the last part is understood. */
function matches(pattern: string, path: string): boolean {
  const [before, after, ...more] = pattern.split('*');
  if (after === undefined) return pattern === path;
  const middle = path.slice(before!.length, path.length - after.length);
  return more.length === 0 && path.startsWith(before!) && path.endsWith(after) && !middle.includes('/');
}

/** The main configuration without the import of `path`. */
export function withoutImport(text: string, path: string): string {
  const found = IMPORTS.exec(topLevel(text));
  if (found === null || !imported(found[1]!).includes(path)) return text;
  const alone = imported(found[1]!).length === 1;
  const shorter = alone ? '' : found[0].replace(listedPath(path), '');
  const end = found.index + found[0].length + (alone && text[found.index + found[0].length] === '\n' ? 1 : 0);
  return text.slice(0, found.index) + shorter + text.slice(end);
}

/** A path in a list with the comma that parts it from its neighbour. */
function listedPath(path: string): RegExp {
  const quoted = quote(path).replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(`,\\s*${quoted}|${quoted}\\s*,\\s*`);
}

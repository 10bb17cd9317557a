/**
 * LCFS as the snapshotter of CRI, the part of containerd that serves Kubernetes.
 *
 * This is one key in the user's own config.toml: a table of CRI in an imported file would take the place of everything that
 * the user has set there. What is added to the text ends in MARK, and a value that was there becomes a comment that begins
 * with BEFORE, so that it can be undone whatever else is changed meanwhile.
 *
 * The key's place depends on the version of containerd, and for containerd 1 on that of the file:
 *
 *   1, file of version 1   [plugins.cri.containerd]
 *   1, file of version 2   [plugins."io.containerd.grpc.v1.cri".containerd]
 *   2, any file            [plugins."io.containerd.cri.v1.images"]
 *
 * containerd 2 moves what stands in the older places to the new one, where it takes precedence, but only if there are tables of
 * runtimes beside it. So in an older file the key is set in both, if the older table is there.
 */
import { LcfsError } from '../../engine/errors.js';
import { MAIN_FILE, SNAPSHOTTER } from './containerd-config.js';
import type { Version } from './version.js';

const MARK = '# by lcfs setup';
const BEFORE = '# before lcfs setup: ';
const LINE = `  snapshotter = "${SNAPSHOTTER}" ${MARK}\n`;
const KEY = /^[^\S\n]*snapshotter[^\S\n]*=.*$/m;

interface Place {
  plugin: string;
  /** Table of the plugin that holds the key; empty: the plugin's own. */
  table: string;
}

const FIRST: Place = { plugin: 'cri', table: 'containerd' };
const SECOND: Place = { plugin: 'io.containerd.grpc.v1.cri', table: 'containerd' };
const THIRD: Place = { plugin: 'io.containerd.cri.v1.images', table: '' };

/** The main configuration with LCFS as the snapshotter of CRI. Throws LcfsError `state` if it is written in a way not known here. */
export function withCri(text: string, configVersion: number, containerd: Version): string {
  const old = configVersion < 2 ? FIRST : SECOND;
  if (containerd.major < 2) return withKeyIn(old, text);
  const moved = configVersion <= 2 && headerOf(old).test(text) ? withKeyIn(old, text) : text;
  return withKeyIn(THIRD, moved);
}

function withKeyIn(place: Place, text: string): string {
  refuseOtherForms(text, place);
  const header = headerOf(place).exec(text);
  if (header === null) return `${endedLine(text)}[${nameOf(place)}] ${MARK}\n${LINE}`;
  const start = header.index + header[0].length;
  const end = start + bodyLength(text.slice(start));
  return text.slice(0, start) + withKey(text.slice(start, end)) + text.slice(end);
}

/** The lines of a table with the key in them. */
function withKey(body: string): string {
  const line = KEY.exec(body)?.[0];
  if (line === undefined) return `\n${LINE}${body.replace(/^\n/, '')}`;
  return line.includes(MARK) ? body : body.replace(line, () => `${BEFORE}${line}\n${LINE.trimEnd()}`);
}

/** The main configuration as it was before `withCri`, with all that was changed since. */
export function withoutCri(text: string): string {
  return text
    .split('\n')
    .filter((line) => !line.endsWith(MARK))
    .map((line) => (line.startsWith(BEFORE) ? line.slice(BEFORE.length) : line))
    .join('\n');
}

/** Whether the file switches CRI off, as that of Docker's own packages does. */
export function isCriDisabled(text: string | null): boolean {
  const list = /^[^\S\n]*disabled_plugins\s*=\s*\[([^\]]*)\]/m.exec(text ?? '')?.[1] ?? '';
  return /["'](cri|io\.containerd\.(grpc\.v1\.cri|cri\.v1\.\w+))["']/.test(list);
}

/** Keys with dots and tables in braces mean the same, but cannot be told from others without reading all of TOML. */
function refuseOtherForms(text: string, place: Place): void {
  const dotted = /^[^\S\n]*plugins\s*\.[^=\n]*snapshotter\s*=/m.test(text);
  const braces = place.table !== '' && /^[^\S\n]*containerd\s*=\s*\{/m.test(text);
  if (dotted || braces)
    throw new LcfsError(
      'state',
      `in ${MAIN_FILE}, set snapshotter = "${SNAPSHOTTER}" in [${nameOf(place)}] yourself: it is written unusually`,
    );
}

function nameOf({ plugin, table }: Place): string {
  return `plugins.${plugin.includes('.') ? `"${plugin}"` : plugin}${table === '' ? '' : `.${table}`}`;
}

function headerOf({ plugin, table }: Place): RegExp {
  const name = plugin.replaceAll('.', String.raw`\.`);
  const bare = plugin.includes('.') ? '' : `|${name}`;
  const rest = table === '' ? '' : String.raw`\s*\.\s*["']?${table}["']?`;
  return new RegExp(String.raw`^[^\S\n]*\[\s*["']?plugins["']?\s*\.\s*(?:"${name}"|'${name}'${bare})${rest}\s*\][^\n]*`, 'm');
}

/** How much of a text belongs to the table whose header stands before it. */
function bodyLength(text: string): number {
  const next = /^[^\S\n]*\[/m.exec(text);
  return next === null ? text.length : next.index;
}

const endedLine = (text: string): string => (text === '' || text.endsWith('\n') ? text : `${text}\n`);

/**
 * `npm run bench [-- --json] [-- --only PART…]`: what LCFS costs on this machine, all from the same run.
 *
 * Parts: requests, clones, memory, docker (a private Docker Engine on LCFS beside one on overlay2), containerd (LCFS as
 * its snapshotter and differ beside its own).
 */
import { parseArgs } from 'node:util';
import { benchClones } from './clones.js';
import { benchContainerd } from './containerd.js';
import { benchDocker } from './docker.js';
import { benchMemory } from './memory.js';
import { printPart, ratio, type Part } from './report.js';
import { benchRequests } from './requests.js';

const PARTS: Readonly<Record<string, () => Part | Promise<Part>>> = {
  requests: benchRequests,
  clones: benchClones,
  memory: benchMemory,
  docker: dockerPart,
  containerd: benchContainerd,
};

async function dockerPart(): Promise<Part> {
  const comparisons = await benchDocker(() => {});
  const figures = comparisons.map(({ work, lcfsMs, overlayMs }) => ({
    name: work,
    value: lcfsMs,
    unit: 'ms',
    note: `${ratio(lcfsMs, overlayMs, 'overlay2')} (${overlayMs.toFixed(0)} ms)`,
  }));
  return { title: 'Docker on LCFS, against overlay2 (medians)', figures };
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { json: { type: 'boolean' }, only: { type: 'string', multiple: true } },
    allowPositionals: true,
  });
  const wanted = [...(values.only ?? []), ...positionals];
  for (const name of wanted)
    if (PARTS[name] === undefined) throw new Error(`there is no part ${name}; there are ${Object.keys(PARTS).join(', ')}`);
  const done: Record<string, Part> = {};
  for (const [name, bench] of Object.entries(PARTS)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const part = await bench();
    done[name] = part;
    if (values.json !== true) printPart(part);
  }
  if (values.json === true) console.log(JSON.stringify(done, null, 2));
}

await main();

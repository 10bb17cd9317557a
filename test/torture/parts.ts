/** The parts of the torture, in the order in which they run. Imported when they run, since each needs other things. */
import type { Part } from './part.js';

interface PartEntry {
  /** What it does, in a few words. */
  readonly what: string;
  /** Share of the time, in comparison with the others. */
  readonly weight: number;
  readonly run: Part;
}

export type PartName = 'power' | 'kills' | 'abuse' | 'docker' | 'containerd' | 'damage' | 'device' | 'fuzz';

export const PARTS: Readonly<Record<PartName, PartEntry>> = {
  power: {
    what: 'power cuts in memory, at every write of random lives',
    weight: 3,
    run: async (budget) => (await import('./power.js')).powerCuts(budget),
  },
  kills: {
    what: 'the daemon killed under load, with programs that know what was acknowledged',
    weight: 3,
    run: async (budget) => (await import('./kills.js')).kills(budget),
  },
  abuse: {
    what: 'cores busy, little memory, a volume nearly full, a kill every 20 s; nothing may leak',
    weight: 2,
    run: async (budget) => (await import('./kills.js')).abuse(budget),
  },
  docker: {
    what: 'power cuts under a Docker Engine at work',
    weight: 3,
    run: async (budget) => (await import('./docker-cuts.js')).dockerCuts(budget),
  },
  containerd: {
    what: 'power cuts under a containerd at work',
    weight: 2,
    run: async (budget) => (await import('./containerd-cuts.js')).containerdCuts(budget),
  },
  damage: {
    what: 'volumes damaged, checked, read and repaired',
    weight: 2,
    run: async (budget) => (await import('./damage.js')).damage(budget),
  },
  fuzz: {
    what: 'fuzzers of archives, requests, formats and endpoints',
    weight: 2,
    run: async (budget) => (await import('./fuzzers.js')).fuzz(budget),
  },
  device: {
    what: 'calls of the device that fail, fall short or never come back, while a volume is at work',
    weight: 1,
    run: async (budget) => (await import('./device.js')).device(budget),
  },
};

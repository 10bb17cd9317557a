/** All parts of the benchmark, in the order in which they run and stand in the report. */
import type { Part } from '../harness/types.js';
import { build } from './build.js';
import { clones } from './clones.js';
import { containerd } from './containerd.js';
import { containers } from './containers.js';
import { images } from './images.js';
import { memory } from './memory.js';
import { pull } from './pull.js';
import { requests } from './requests.js';
import { depth } from '../workloads/depth.js';
import { pageCache } from '../workloads/page-cache.js';
import { programs } from '../workloads/programs.js';
import { readsWrites } from '../workloads/reads-writes.js';

export const PARTS: readonly Part[] = [
  containers,
  pull,
  build,
  images,
  programs,
  readsWrites,
  pageCache,
  requests,
  clones,
  depth,
  memory,
  containerd,
];

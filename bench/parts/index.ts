/** All parts of the benchmark, in the order in which they run and stand in the report. */
import type { Part } from '../harness/types.js';
import { clones } from './clones.js';
import { containerd } from './containerd.js';
import { memory } from './memory.js';
import { requests } from './requests.js';

export const PARTS: readonly Part[] = [requests, clones, memory, containerd];

/**
 * Who was told lately that an inode is stale.
 *
 * A task whose request is answered with ESTALE looks the name up again and comes back with another inode. If it comes back
 * with the same one, there is no name on its way (it reopens a descriptor through /proc, or a file that is a mount of its
 * own), and it has to be served as it is. So each refusal leaves a ticket, node and task, which is good for one request. The
 * table is shared by the threads of a connection. A ticket that another one overwrites costs a task an ESTALE.
 *
 * A ticket also says which request it was given to and which one it was given up by, as both may be served a second time, by
 * another process: with the same outcome.
 */
import type { LayerIndex } from '../layout/constants.js';

const TICKETS = 1024;
/** Layer, low word of the nodeid, task, low words of the unique numbers of who got it and who gave it up (0: nobody). */
const TICKET_WORDS = 8;
export const TICKETS_BYTES = TICKETS * TICKET_WORDS * 4;

const LOW = 1;
const TASK = 2;
const GIVEN_TO = 3;
const USED_BY = 4;

export class Tickets {
  private readonly words: Int32Array;

  constructor(memory: SharedArrayBuffer, at: number) {
    this.words = new Int32Array(memory, at, TICKETS_BYTES / 4);
  }

  /** Whether the task has a ticket for that node, which request `unique` gives up; if not, the request gets one. */
  show(layer: LayerIndex, low: number, task: number, unique: number): boolean {
    const { words } = this;
    const hash = Math.imul(Math.imul(low, 0x9e37_79b1) ^ Math.imul(layer, 0x85eb_ca6b) ^ Math.imul(task, 0xc2b2_ae35), 0x27d4_eb2f);
    const at = (hash >>> 22) * TICKET_WORDS;
    const isOurs = words[at] === (layer | 0) && words[at + LOW] === (low | 0) && words[at + TASK] === (task | 0);
    if (isOurs && words[at + USED_BY] === (unique | 0)) return true;
    if (isOurs && words[at + GIVEN_TO] === (unique | 0)) return false;
    const isHeld = isOurs && words[at + USED_BY] === 0;
    if (isHeld) words[at + USED_BY] = unique;
    else this.give(at, layer, low, task, unique);
    return isHeld;
  }

  private give(at: number, layer: LayerIndex, low: number, task: number, unique: number): void {
    const { words } = this;
    // No inode has the number 0: the ticket is nobody's while it is written.
    words[at + LOW] = 0;
    words[at] = layer;
    words[at + TASK] = task;
    words[at + GIVEN_TO] = unique;
    words[at + USED_BY] = 0;
    words[at + LOW] = low;
  }
}

/**
 * Who was told lately that an inode is stale.
 *
 * A task whose request is answered with ESTALE looks the name up again and comes back with another inode. If it comes back
 * with the same one, there is no name on its way (it reopens a descriptor through /proc, or a file that is a mount of its
 * own), and it has to be served as it is. So each refusal leaves a ticket, node and task, which is good for one request. The
 * table is shared by the threads of a connection. A ticket that another one overwrites costs a task an ESTALE.
 */
import type { LayerIndex } from '../layout/constants.js';

const TICKETS = 1024;
/** Layer, low word of the nodeid, task. */
const TICKET_WORDS = 4;
export const TICKETS_BYTES = TICKETS * TICKET_WORDS * 4;

export class Tickets {
  private readonly words: Int32Array;

  constructor(memory: SharedArrayBuffer, at: number) {
    this.words = new Int32Array(memory, at, TICKETS_BYTES / 4);
  }

  /** Whether the task has a ticket for that node, which it gives up; if not, it gets one. */
  show(layer: LayerIndex, low: number, task: number): boolean {
    const { words } = this;
    const hash = Math.imul(Math.imul(low, 0x9e37_79b1) ^ Math.imul(layer, 0x85eb_ca6b) ^ Math.imul(task, 0xc2b2_ae35), 0x27d4_eb2f);
    const at = (hash >>> 22) * TICKET_WORDS;
    const isHeld = words[at] === (layer | 0) && words[at + 1] === (low | 0) && words[at + 2] === (task | 0);
    words[at] = layer;
    // No inode has the number 0.
    words[at + 1] = isHeld ? 0 : low;
    words[at + 2] = task;
    return isHeld;
  }
}

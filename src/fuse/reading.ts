/**
 * READ, of whichever node: the one place where a request's answer may come later.
 *
 * A queue that can wait for several reads at a time gives its requests a plan and says so (`mayAnswerLater`); then the
 * blocks that are not at hand are for the queue to fetch, and the answer is READING. Other queues fetch them here. Without
 * a plan, and whenever one does not work out, the engine reads under the layer's lock.
 */
import { read } from '../engine/contents.js';
import { NOT_PLANNED, isPlannable, planRead, provePlan, readRunsNow, readRunsWaiting, type ReadPlan } from '../engine/planned-read.js';
import type { Ino, LayerIndex } from '../layout/constants.js';
import { EINVAL } from '../linux/errno.js';
import { IO_OFFSET, IO_SIZE } from './protocol.js';
import { argument, argument64, type Request } from './request.js';

/** What a handler returns when the queue has runs of the request's plan to fetch. Beyond any error number. */
export const READING = -0x1_0001;

/** Answers a READ with the contents of that file, or READING. */
export function readContents(r: Request, layer: LayerIndex, ino: Ino): number {
  const size = argument(r, IO_SIZE);
  if (size > r.replyBytes) return -EINVAL;
  const offset = argument64(r, IO_OFFSET);
  const planned = r.plan === null || !isPlannable(offset, size) ? NOT_PLANNED : readPlanned(r, r.plan, layer, ino, offset, size);
  return planned === NOT_PLANNED ? read(layer, ino, offset, size, r.io, r.reply) : planned;
}

function readPlanned(r: Request, plan: ReadPlan, layer: LayerIndex, ino: Ino, offset: number, size: number): number {
  const length = planRead(plan, layer, ino, offset, size, !r.mayAnswerLater);
  if (length < 0) return length;
  const to = r.io.address + r.reply;
  if (!r.mayAnswerLater) return readRunsWaiting(plan, to) && provePlan(plan, to) ? length : NOT_PLANNED;
  if (readRunsNow(plan, to) > 0) return READING;
  return provePlan(plan, to) ? length : NOT_PLANNED;
}

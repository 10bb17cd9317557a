/** containerd.services.diff.v1: the calls of the differ. */
import type { Differ } from './differ.js';
import * as M from './messages.js';
import { method } from './method.js';
import type { Service } from './rpc.js';

const path = (name: string): string => `/containerd.services.diff.v1.Diff/${name}`;

export const METHODS = {
  apply: method(path('Apply'), M.ApplyRequest, M.ApplyResponse),
  diff: method(path('Diff'), M.DiffRequest, M.DiffResponse),
};

export function addDiffs(service: Service, differ: Differ): void {
  service
    .unary(METHODS.apply, async (request, context) => ({ applied: await differ.apply(request as M.ApplyRequest, context) }))
    .unary(METHODS.diff, async (request, context) => ({ diff: await differ.diff(request as M.DiffRequest, context) }));
}

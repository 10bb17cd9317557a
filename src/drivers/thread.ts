/** What the threads of all drivers tell the daemon, first `ready` or `failed`. */
import type { ErrorCode } from '../engine/errors.js';

export type DriverMessage =
  | { kind: 'ready' }
  | { kind: 'failed'; code: ErrorCode; message: string }
  | { kind: 'log'; level: 'info' | 'warn' | 'error'; message: string };

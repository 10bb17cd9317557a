/** How calls fail: with a status code of gRPC, which containerd translates back into its own kinds of errors. */
import { status } from '@grpc/grpc-js';
import { BlockError, LcfsError, type ErrorCode } from '../../engine/errors.js';

export class CallFailure extends Error {
  readonly code: status;
  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}

export const invalid = (message: string): CallFailure => new CallFailure(status.INVALID_ARGUMENT, message);
export const notFound = (message: string): CallFailure => new CallFailure(status.NOT_FOUND, message);
export const exists = (message: string): CallFailure => new CallFailure(status.ALREADY_EXISTS, message);
export const refused = (message: string): CallFailure => new CallFailure(status.FAILED_PRECONDITION, message);
/** Lets containerd's diff service try the next differ. */
export const unimplemented = (message: string): CallFailure => new CallFailure(status.UNIMPLEMENTED, message);

const CODES: Readonly<Record<ErrorCode, status>> = {
  invalid: status.INVALID_ARGUMENT,
  'not-found': status.NOT_FOUND,
  exists: status.ALREADY_EXISTS,
  busy: status.FAILED_PRECONDITION,
  state: status.FAILED_PRECONDITION,
  full: status.RESOURCE_EXHAUSTED,
  corrupt: status.DATA_LOSS,
  io: status.INTERNAL,
};

/** What a caller gets to see of an error; null for one that is a bug. */
export function failureOf(error: unknown): CallFailure | null {
  if (error instanceof CallFailure) return error;
  if (error instanceof BlockError) return new CallFailure(status.DATA_LOSS, error.message);
  return error instanceof LcfsError ? new CallFailure(CODES[error.code], error.message) : null;
}

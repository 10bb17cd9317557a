/** How calls fail: with a status code of gRPC, which containerd translates back into its own kinds of errors. */
import { BlockError, LcfsError, type ErrorCode } from '../../engine/errors.js';

/** Status codes of gRPC, as far as they occur. */
export const Code = {
  OK: 0,
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
} as const;

/** One of Code, or another that containerd answers with. */
export type Code = number;

export class CallFailure extends Error {
  readonly code: Code;
  constructor(code: Code, message: string) {
    super(message);
    this.code = code;
  }
}

export const invalid = (message: string): CallFailure => new CallFailure(Code.INVALID_ARGUMENT, message);
export const notFound = (message: string): CallFailure => new CallFailure(Code.NOT_FOUND, message);
export const exists = (message: string): CallFailure => new CallFailure(Code.ALREADY_EXISTS, message);
export const refused = (message: string): CallFailure => new CallFailure(Code.FAILED_PRECONDITION, message);
/** Lets containerd's diff service try the next differ. */
export const unimplemented = (message: string): CallFailure => new CallFailure(Code.UNIMPLEMENTED, message);

const CODES: Readonly<Record<ErrorCode, Code>> = {
  invalid: Code.INVALID_ARGUMENT,
  'not-found': Code.NOT_FOUND,
  exists: Code.ALREADY_EXISTS,
  busy: Code.FAILED_PRECONDITION,
  state: Code.FAILED_PRECONDITION,
  full: Code.RESOURCE_EXHAUSTED,
  corrupt: Code.DATA_LOSS,
  io: Code.INTERNAL,
};

/** What a caller gets to see of an error; null for one that is a bug. */
export function failureOf(error: unknown): CallFailure | null {
  if (error instanceof CallFailure) return error;
  if (error instanceof BlockError) return new CallFailure(Code.DATA_LOSS, error.message);
  return error instanceof LcfsError ? new CallFailure(CODES[error.code], error.message) : null;
}

/** Why an entry cannot be applied. The importer adds which entry it is. */
import type { ErrorCode } from '../engine/errors.js';
import { causeOf } from './archive-error.js';

export class Refusal extends Error {
  readonly code: ErrorCode;
  constructor(cause: string, code: ErrorCode = 'invalid') {
    super(cause);
    this.code = code;
  }
}

/** The result of an engine call; throws Refusal if it is a negative errno. */
export function check(result: number): number {
  if (result >= 0) return result;
  const [code, cause] = causeOf(result);
  throw new Refusal(cause, code);
}

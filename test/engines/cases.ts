/**
 * Cases that share engines which take long to start. Each brings about what it needs, which is quick where a case before has
 * left it. After one that failed everything begins anew: one failure is one failure, and any case can be run alone.
 */
import { beforeEach, test, type TestContext } from 'node:test';
import { PATIENCE_MS } from '../../scripts/lib/limits.js';
import { limitTests } from '../support/hangs.js';

/** For images that are made only once, and for beginning anew. */
export const SETUP_MS = 10 * PATIENCE_MS;
/** More than any wait in a case has, so that it is the wait that fails and says for what. */
const CASE_MS = 5 * PATIENCE_MS;

export interface Shared {
  /** Ends everything, in whatever state it is, and starts it with nothing in it. */
  startAfresh(): Promise<void>;
  /** After a case that went well. */
  tidy?(): Promise<void>;
  /** What the engines said last: printed when a case fails. */
  logs(): string;
}

/** To be called once in a file or in a `describe`, before anything is started. What it returns adds a case to it. */
export function casesOn(shared: Shared, limitMs = CASE_MS): (name: string, work: (context: TestContext) => Promise<void>) => void {
  // What hangs beyond any wait that has a limit itself.
  limitTests((SETUP_MS + limitMs) / 1000);
  let sound = true;
  const beginAnew = async (): Promise<void> => {
    if (!sound) await shared.startAfresh();
    sound = true;
  };
  beforeEach(beginAnew, { timeout: SETUP_MS });
  return (name, work) =>
    void test(name, { timeout: limitMs }, async (context) => {
      sound = false; // until it has ended well: when its time is over, nothing is caught
      await work(context).catch((error: unknown) => {
        console.error(shared.logs());
        throw error;
      });
      if (context.signal.aborted) return; // too late: the next case is under way
      await shared.tidy?.();
      sound = !context.signal.aborted;
    });
}

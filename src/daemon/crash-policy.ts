/**
 * What follows the death of the serving process. A death now and then is survived; what dies again and again would do so for
 * ever, and perhaps make things worse each time:
 *
 *   the third death within a minute   the next process changes nothing any more (read-only)
 *   the third one while it is so      the end
 */

/** Overridden by tests, which end more processes than that in a minute. */
export const WINDOW_MS = 1000 * Number(process.env['LCFS_CRASH_WINDOW'] ?? 60);
export const DEATHS_MAX = 3;

export type Verdict = 'restart' | 'read-only' | 'end';

export class CrashPolicy {
  /** When the deaths within the last minute were. */
  #deaths: number[] = [];
  #readOnly = false;

  /** Counts a death. `nowMs` comes from a clock that only goes forward. */
  died(nowMs: number): Verdict {
    this.#deaths = [...this.#deaths.filter((atMs) => nowMs - atMs < WINDOW_MS), nowMs];
    if (this.#deaths.length < DEATHS_MAX) return this.#readOnly ? 'read-only' : 'restart';
    if (this.#readOnly) return 'end';
    this.#readOnly = true;
    return 'read-only';
  }

  /** Somebody has looked at it: changes are allowed again, and earlier deaths count no more. */
  resume(): void {
    this.#deaths = [];
    this.#readOnly = false;
  }
}

/**
 * Order among the calls that concern one layer. A call works on the layer for as long as its stream flows: while a tar is
 * applied to a layer, a call that removes, clones or mounts it waits for the end.
 *
 * Calls that only read share their turn, others have it alone; turns are given in the order in which they were asked for.
 * A call that needs several layers takes them in the order of their names, so that no two calls wait for each other.
 */

/** Layers that a call works on; those in `alone` may be changed. Empty names are left out. */
export interface Needs {
  alone?: readonly string[];
  shared?: readonly string[];
}

interface Waiter {
  alone: boolean;
  start: () => void;
}

interface Line {
  /** Calls that have their turn; -1: one that has it alone. */
  active: number;
  waiting: Waiter[];
}

export class Turns {
  /** Only names that calls are working on. */
  readonly #lines = new Map<string, Line>();

  /** Runs `work` when it has its turn on all the layers it needs. */
  async run<T>(needs: Needs, work: () => T | Promise<T>): Promise<T> {
    const taken: string[] = [];
    try {
      for (const [name, alone] of ordered(needs)) {
        await this.#enter(name, alone);
        taken.push(name);
      }
      return await work();
    } finally {
      for (const name of taken) this.#leave(name);
    }
  }

  #enter(name: string, alone: boolean): Promise<void> {
    const line = this.#lines.get(name) ?? { active: 0, waiting: [] };
    this.#lines.set(name, line);
    return new Promise((resolve) => {
      line.waiting.push({ alone, start: resolve });
      startWaiting(line);
    });
  }

  #leave(name: string): void {
    const line = this.#lines.get(name)!;
    line.active = line.active < 0 ? 0 : line.active - 1;
    startWaiting(line);
    if (line.active === 0 && line.waiting.length === 0) this.#lines.delete(name);
  }
}

/** Starts those at the head of the line that may run beside the ones that run. */
function startWaiting(line: Line): void {
  for (let first = line.waiting[0]; first !== undefined; first = line.waiting[0]) {
    if (line.active < 0 || (first.alone && line.active > 0)) return;
    line.active = first.alone ? -1 : line.active + 1;
    line.waiting.shift();
    first.start();
  }
}

function ordered(needs: Needs): [string, boolean][] {
  const byName = new Map<string, boolean>();
  for (const name of needs.shared ?? []) byName.set(name, false);
  for (const name of needs.alone ?? []) byName.set(name, true);
  byName.delete('');
  return [...byName].sort(([a], [b]) => (a < b ? -1 : 1));
}

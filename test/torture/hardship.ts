/** What makes a daemon's life hard: cores that others keep busy, and a limit of memory. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

/** Programs that do nothing, as fast as they can, one for each core. */
export class BusyCores {
  readonly #wanted: boolean;
  #programs: ChildProcess[] = [];

  constructor(wanted: boolean) {
    this.#wanted = wanted;
  }

  start(): void {
    const count = this.#wanted ? availableParallelism() : 0;
    for (let i = 0; i < count; i++) this.#programs.push(spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }));
  }

  end(): void {
    for (const program of this.#programs) program.kill('SIGKILL');
    this.#programs = [];
  }
}

/** A group of processes that may use so much memory and no more, caches included; in either version of cgroups. */
export class MemoryLimit {
  readonly #folder: string | null;

  /** `bytes` 0: no limit. A machine that lets us make no group has none either. */
  constructor(bytes: number) {
    this.#folder = bytes === 0 ? null : makeGroup(bytes);
  }

  get isInForce(): boolean {
    return this.#folder !== null;
  }

  apply(pids: readonly number[]): void {
    if (this.#folder !== null) for (const pid of pids) tryWrite(join(this.#folder, 'cgroup.procs'), String(pid));
  }

  /** Takes the group away, once its processes have ended. */
  end(): void {
    if (this.#folder === null) return;
    try {
      rmdirSync(this.#folder);
    } catch {
      // A process of it has not been waited for yet; an empty group does no harm.
    }
  }
}

function makeGroup(bytes: number): string | null {
  const name = `lcfs-torture-${process.pid}`;
  const unified = existsSync('/sys/fs/cgroup/cgroup.controllers');
  const folder = unified ? `/sys/fs/cgroup/${name}` : `/sys/fs/cgroup/memory/${name}`;
  try {
    mkdirSync(folder);
    writeFileSync(join(folder, unified ? 'memory.max' : 'memory.limit_in_bytes'), String(bytes));
    return folder;
  } catch {
    return null;
  }
}

/** A process may have ended meanwhile. */
function tryWrite(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch {
    // It is not in the group then, nor anywhere else.
  }
}

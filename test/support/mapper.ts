/**
 * A program that writes to a file through a mapping and keeps it. It is no part of the test's own process: a process that starts
 * another one has its mappings written back on the way, as the child gives up its copy of them.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('./mapping-process.js', import.meta.url));

export class Mapper {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Maps `bytes` bytes of a file, which is made or changed to that size. */
  static async map(path: string, bytes: number): Promise<Mapper> {
    const mapper = new Mapper(fork(PROGRAM, [path, String(bytes)]));
    await mapper.#heard();
    return mapper;
  }

  async #heard(): Promise<void> {
    const said = await Promise.race([once(this.#child, 'message'), once(this.#child, 'exit')]);
    if (typeof said[0] !== 'string') throw new Error(`the program that maps a file ended with ${said[0] ?? said[1]}`);
  }

  /** Writes a text to the start of every page. */
  async write(text: string): Promise<void> {
    const heard = this.#heard();
    this.#child.send(text);
    await heard;
  }

  /** Ends the program, which may have ended already. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill(signal);
    await once(this.#child, 'exit');
  }
}

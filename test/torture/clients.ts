/** Clients of a mounted volume (client.ts), each a process, and what a part asks all of them. */
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MOMENT_MS, within } from '../../scripts/lib/limits.js';
import type { Command, Message } from './client.js';

const PROGRAM = fileURLToPath(new URL('./client.js', import.meta.url));

type Answer<K extends Message['is']> = Extract<Message, { is: K }>;

export class Client {
  readonly #child: ChildProcess;
  readonly #waiting: { is: string; resolve: (message: Message) => void; reject: (error: Error) => void }[] = [];
  #violation: string | null = null;
  /** How the mount broke under it since it last went to work; empty: it did not. */
  breakage = '';

  constructor(folder: string, seed: number) {
    this.#child = fork(PROGRAM, [folder, String(seed)], { stdio: 'inherit' });
    this.#child.on('message', (message: Message) => this.#take(message));
    this.#child.once('exit', (code, signal) => this.#fail(`a client ended with ${code ?? signal}`));
  }

  get broken(): boolean {
    return this.breakage !== '';
  }

  /** What it found that must not be; null if nothing. */
  get violation(): string | null {
    return this.#violation;
  }

  #take(message: Message): void {
    if (message.is === 'broken') this.breakage = message.how;
    else if (message.is === 'violation') this.#fail(message.what);
    else {
      const index = this.#waiting.findIndex(({ is }) => is === message.is);
      if (index >= 0) this.#waiting.splice(index, 1)[0]!.resolve(message);
    }
  }

  #fail(what: string): void {
    this.#violation ??= what;
    for (const { reject } of this.#waiting.splice(0)) reject(new Error(this.#violation));
  }

  #ask<K extends Message['is']>(command: Command, is: K): Promise<Answer<K>> {
    if (this.#violation !== null) return Promise.reject(new Error(this.#violation));
    const answer = new Promise<Message>((resolve, reject) => this.#waiting.push({ is, resolve, reject }));
    this.#child.send(command);
    return within(answer as Promise<Answer<K>>, MOMENT_MS, `a client told to ${command.do}`);
  }

  async go(strict: boolean): Promise<void> {
    this.breakage = '';
    await this.#ask({ do: 'go', strict }, 'going');
  }

  rest(): Promise<Answer<'resting'>> {
    return this.#ask({ do: 'rest' }, 'resting');
  }

  verify(lost: boolean): Promise<Answer<'verified'>> {
    return this.#ask({ do: 'verify', lost }, 'verified');
  }

  /** Lets it close its files, so that the volume can be unmounted. */
  async letGo(): Promise<void> {
    await this.#ask({ do: 'let go' }, 'resting');
  }

  acknowledged(changes: number): void {
    this.#child.send({ do: 'acknowledged', changes } satisfies Command);
  }

  /** Lets its process end. */
  end(): Promise<void> {
    this.#violation ??= 'ended';
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return Promise.resolve();
    return new Promise((resolve) => {
      this.#child.once('exit', () => resolve());
      this.#child.kill('SIGKILL');
    });
  }
}

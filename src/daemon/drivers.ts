/** The threads of the drivers: starting one, passing its log on, stopping it. */
import type { Worker } from 'node:worker_threads';
import type { ContainerdWorkerData } from '../drivers/containerd/worker.js';
import type { DockerWorkerData } from '../drivers/docker/worker.js';
import type { Claims, NamedLayer } from '../drivers/claims.js';
import type { DriverAnswer, DriverMessage, DriverRequest, Question } from '../drivers/thread.js';
import { LcfsError } from '../engine/errors.js';
import type { Logger } from './log.js';
import { joinThread, startThread } from './threads.js';

/** The main thread's end of a driver. */
export class DriverThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, (answer: DriverAnswer) => void>();
  #questions = 0;
  /** Settles when the driver serves. */
  readonly ready: Promise<void>;

  constructor(worker: Worker, log: Logger) {
    this.#worker = worker;
    let ready: () => void;
    this.ready = new Promise((settle) => (ready = settle));
    worker.on('message', (message: DriverMessage) => {
      if (message.kind === 'log') log[message.level](message.message);
      else if (message.kind === 'ready') ready();
      else if (message.kind === 'answer') this.#waiting.get(message.id)?.(message);
    });
    worker.once('exit', () => this.#endWaiting());
  }

  /** What the driver's engine says about layers (drivers/claims.ts). Throws LcfsError if it can't be asked. */
  claims(layers: readonly NamedLayer[], places: readonly string[]): Promise<Claims> {
    return this.#ask({ kind: 'claims', layers, places }) as Promise<Claims>;
  }

  /** Throws LcfsError `busy` if the layer is in use, or was used since the time `since`. */
  async removeUnclaimed(layer: NamedLayer, since: number): Promise<void> {
    await this.#ask({ kind: 'remove', layer, since });
  }

  async #ask(question: Question): Promise<unknown> {
    const id = this.#questions++;
    const answered = new Promise<DriverAnswer>((settle) => this.#waiting.set(id, settle));
    this.#send({ id, question });
    const answer = await answered;
    this.#waiting.delete(id);
    if ('value' in answer) return answer.value;
    throw new LcfsError(answer.code, answer.message);
  }

  #send(request: DriverRequest): void {
    this.#worker.postMessage(request);
  }

  #endWaiting(): void {
    for (const [id, settle] of this.#waiting) settle({ kind: 'answer', id, code: 'state', message: 'the volume is being closed' });
  }

  /** Ends the thread; calls that are under way get `graceMs` to end. */
  async stop(graceMs: number): Promise<void> {
    this.#send({ graceMs });
    await joinThread(this.#worker);
  }
}

/** Returns when Docker is served. */
export function startDocker(data: DockerWorkerData, log: Logger): Promise<DriverThread> {
  return startDriver(new URL('../drivers/docker/worker.js', import.meta.url), 'docker', data, log);
}

/** Returns when containerd is served. */
export function startContainerd(data: ContainerdWorkerData, log: Logger): Promise<DriverThread> {
  return startDriver(new URL('../drivers/containerd/worker.js', import.meta.url), 'containerd', data, log);
}

async function startDriver(module: URL, name: string, data: unknown, log: Logger): Promise<DriverThread> {
  const worker = startThread(module, name, data, log);
  const driver = new DriverThread(worker, log.child({ thread: name }));
  await driver.ready;
  return driver;
}

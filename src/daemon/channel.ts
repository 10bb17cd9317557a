/**
 * Carries the streams of one long task between the main thread, which never blocks, and a task thread, which always does:
 * the engine is synchronous, so a task reads and writes with calls that wait.
 *
 * The main thread sends chunks, an end or a failure through the port and then rings `signal[BELL]`; the task thread, which
 * never returns to its event loop meanwhile, sleeps on the bell and takes messages with receiveMessageOnPort. What the task
 * thread posts reaches the main thread's event loop as usual.
 *
 * C1: at most INPUT_WINDOW and OUTPUT_WINDOW chunks are under way. The task thread acknowledges input with {ack}, the main
 *     thread output by adding to `signal[TAKEN]` and ringing.
 * C2: after `signal[CANCELLED]` is set nobody wants the result: the task's next read or write throws.
 */
import type { Readable } from 'node:stream';
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import { LcfsError } from '../engine/errors.js';

const BELL = 0;
const TAKEN = 1;
const CANCELLED = 2;
const SIGNAL_WORDS = 4;
/** Input comes in chunks of 64 KiB, output in chunks of up to 1 MiB. */
const INPUT_WINDOW = 16;
const OUTPUT_WINDOW = 4;

type ToTask = { chunk: Uint8Array } | { end: true } | { broken: string };
type FromTask = { ack: number } | { chunk: Uint8Array } | { result: unknown } | { failure: { code: string; message: string } };

export interface TaskStart {
  task: string;
  args: unknown;
  port: MessagePort;
  signal: SharedArrayBuffer;
}

export function makeSignal(): SharedArrayBuffer {
  return new SharedArrayBuffer(SIGNAL_WORDS * 4);
}

/** The task's end: every call may wait. */
export class TaskChannel {
  readonly #port: MessagePort;
  readonly #signal: Int32Array;
  #sent = 0;

  constructor(port: MessagePort, signal: SharedArrayBuffer) {
    this.#port = port;
    this.#signal = new Int32Array(signal);
  }

  /** The next bytes of the input, null at its end. Throws LcfsError when the input broke off. */
  read(): Uint8Array | null {
    for (;;) {
      const bell = Atomics.load(this.#signal, BELL);
      this.#refuseIfCancelled();
      const received = receiveMessageOnPort(this.#port) as { message: ToTask } | undefined;
      if (received === undefined) Atomics.wait(this.#signal, BELL, bell);
      else return this.#take(received.message);
    }
  }

  #take(message: ToTask): Uint8Array | null {
    if ('broken' in message) throw new LcfsError('io', message.broken);
    if ('end' in message) return null;
    this.#post({ ack: 1 });
    return message.chunk;
  }

  /** Sends bytes of the output; they may be reused afterwards. */
  write(bytes: Uint8Array): void {
    for (;;) {
      const bell = Atomics.load(this.#signal, BELL);
      this.#refuseIfCancelled();
      if (this.#sent - Atomics.load(this.#signal, TAKEN) < OUTPUT_WINDOW) break;
      Atomics.wait(this.#signal, BELL, bell);
    }
    this.#sent++;
    const chunk = Uint8Array.from(bytes);
    this.#port.postMessage({ chunk } satisfies FromTask, [chunk.buffer]);
  }

  finish(message: { result: unknown } | { failure: { code: string; message: string } }): void {
    this.#post(message);
  }

  #post(message: FromTask): void {
    this.#port.postMessage(message);
  }

  #refuseIfCancelled(): void {
    if (Atomics.load(this.#signal, CANCELLED) === 1) throw new LcfsError('io', 'the client went away');
  }
}

export interface TaskStreams {
  input?: Readable;
  /** Takes the output; settles when it is ready for more. Must not reject. */
  output?: (chunk: Uint8Array) => Promise<void> | void;
}

/** The main thread's end: carries the streams and settles with the task's result. */
export class MainChannel {
  readonly #port: MessagePort;
  readonly #signal: Int32Array;
  readonly #streams: TaskStreams;
  #underWay = 0;
  #done = false;
  #wakePump = (): void => {};

  constructor(port: MessagePort, signal: SharedArrayBuffer, streams: TaskStreams) {
    this.#port = port;
    this.#signal = new Int32Array(signal);
    this.#streams = streams;
  }

  /** Rejects with the LcfsError that the task ended with. */
  async result<T>(): Promise<T> {
    const result = new Promise<T>((settle, reject) => {
      this.#port.on('message', (message: FromTask) => void this.#receive(message, settle as (value: unknown) => void, reject));
    });
    if (this.#streams.input !== undefined) void this.#pump(this.#streams.input);
    try {
      return await result;
    } finally {
      this.#done = true;
      this.#wakePump();
      this.#port.close();
    }
  }

  /** Nobody waits for the task any more (C2). */
  cancel(): void {
    Atomics.store(this.#signal, CANCELLED, 1);
    this.#ring();
  }

  async #receive(message: FromTask, settle: (value: unknown) => void, reject: (error: Error) => void): Promise<void> {
    if ('ack' in message) this.#acknowledge(message.ack);
    else if ('chunk' in message) await this.#output(message.chunk);
    else if ('result' in message) settle(message.result);
    else reject(new LcfsError(message.failure.code as LcfsError['code'], message.failure.message));
  }

  #acknowledge(chunks: number): void {
    this.#underWay -= chunks;
    this.#wakePump();
  }

  async #output(chunk: Uint8Array): Promise<void> {
    await this.#streams.output?.(chunk);
    Atomics.add(this.#signal, TAKEN, 1);
    this.#ring();
  }

  async #pump(input: Readable): Promise<void> {
    try {
      // The answer still goes out on the connection that a refused input came from.
      for await (const chunk of input.iterator({ destroyOnReturn: false })) {
        // A view of a pooled buffer would drag the whole pool along: send a copy of just these bytes.
        const copy = Uint8Array.from(chunk as Uint8Array);
        while (this.#underWay >= INPUT_WINDOW && !this.#done) await new Promise<void>((wake) => (this.#wakePump = wake));
        if (this.#done) return;
        this.#send({ chunk: copy }, [copy.buffer]);
      }
      this.#send({ end: true });
    } catch (error) {
      this.#send({ broken: `the input broke off: ${(error as Error).message}` });
    }
  }

  #send(message: ToTask, transfer: ArrayBuffer[] = []): void {
    if ('chunk' in message) this.#underWay++;
    this.#port.postMessage(message, transfer);
    this.#ring();
  }

  #ring(): void {
    Atomics.add(this.#signal, BELL, 1);
    Atomics.notify(this.#signal, BELL);
  }
}

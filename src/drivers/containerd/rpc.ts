/**
 * A gRPC service made of plain functions. What a function throws is the status of the answer; anything unexpected ends the
 * process, as shared state may be half-changed.
 */
import type { ServerUnaryCall, ServerWritableStream, UntypedServiceImplementation, sendUnaryData } from '@grpc/grpc-js';
import { Code, failureOf } from './failure.js';
import type { Method } from './method.js';

/** Takes a line for the daemon's log. */
export type Log = (level: 'info' | 'warn' | 'error', message: string) => void;

/** Answers that belong to the everyday of containerd and its clients. */
const EXPECTED: ReadonlySet<Code> = new Set([Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.UNIMPLEMENTED, Code.CANCELLED]);

export interface CallContext {
  /** Of the client that containerd works for. */
  readonly namespace: string;
  /** The client's lease, if it travelled. */
  readonly lease: string;
  /** Fires when the caller does not wait any more. */
  readonly signal: AbortSignal;
}

type Handler = (call: never, answer: never) => void;

/** Collects the methods of a server. */
export class Service {
  readonly definition: Record<string, Method<unknown, unknown>> = {};
  readonly implementation: UntypedServiceImplementation = {};
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  unary<A, B>(definition: Method<A, B>, work: (request: A, context: CallContext) => B | Promise<B>): this {
    return this.#add(definition, (call: ServerUnaryCall<A, B>, answer: sendUnaryData<B>) => {
      void this.#answer(definition.path, call, answer, work);
    });
  }

  async #answer<A, B>(
    path: string,
    call: ServerUnaryCall<A, B>,
    answer: sendUnaryData<B>,
    work: (request: A, context: CallContext) => B | Promise<B>,
  ): Promise<void> {
    try {
      answer(null, await work(call.request, contextOf(call)));
    } catch (error) {
      answer(this.#statusOf(path, error));
    }
  }

  /** Answers with a stream of messages. */
  stream<A, B>(definition: Method<A, B>, work: (request: A) => Iterable<B>): this {
    return this.#add(definition, (call: ServerWritableStream<A, B>) => void this.#pour(definition.path, call, work));
  }

  async #pour<A, B>(path: string, call: ServerWritableStream<A, B>, work: (request: A) => Iterable<B>): Promise<void> {
    try {
      for (const message of work(call.request)) {
        if (call.cancelled) return;
        if (!call.write(message)) await new Promise((resolve) => call.once('drain', resolve).once('cancelled', resolve));
      }
      call.end();
    } catch (error) {
      call.emit('error', this.#statusOf(path, error));
    }
  }

  #add<A, B>(definition: Method<A, B>, handler: Handler): this {
    this.definition[definition.path] = definition as unknown as Method<unknown, unknown>;
    this.implementation[definition.path] = handler as UntypedServiceImplementation[string];
    return this;
  }

  #statusOf(path: string, error: unknown): { code: Code; details: string } {
    const failure = failureOf(error);
    if (failure === null) throw error;
    if (!EXPECTED.has(failure.code)) this.#log('warn', `${path}: ${failure.message}`);
    return { code: failure.code, details: failure.message };
  }
}

function contextOf(call: ServerUnaryCall<unknown, unknown>): CallContext {
  const controller = new AbortController();
  call.once('cancelled', () => controller.abort());
  const header = (name: string): string => String(call.metadata.get(name)[0] ?? '');
  return { namespace: header('containerd-namespace'), lease: header('containerd-lease'), signal: controller.signal };
}

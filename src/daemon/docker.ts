/** The thread of the Docker graph driver: starting it, passing its log on, stopping it. */
import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { LcfsError } from '../engine/errors.js';
import type { DockerMessage, DockerWorkerData } from '../drivers/docker/worker.js';
import type { Logger } from './log.js';
import { joinThread, startThread } from './threads.js';

export interface DockerThread {
  stop: () => Promise<void>;
}

/** Returns when Docker can connect. Throws LcfsError if the socket can't be had. */
export async function startDocker(data: DockerWorkerData, log: Logger): Promise<DockerThread> {
  const worker = startThread(new URL('../drivers/docker/worker.js', import.meta.url), 'docker', data, log);
  const answer = await firstAnswer(worker);
  if (answer.kind === 'failed') throw new LcfsError(answer.code, answer.message);
  const dockerLog = log.child({ thread: 'docker' });
  worker.on('message', (message: DockerMessage) => {
    if (message.kind === 'log') dockerLog[message.level](message.message);
  });
  log.info(`the Docker graph driver is served on ${data.socket}`);
  return { stop: () => stop(worker) };
}

async function firstAnswer(worker: Worker): Promise<Exclude<DockerMessage, { kind: 'log' }>> {
  for (;;) {
    const [message] = (await once(worker, 'message')) as [DockerMessage];
    if (message.kind !== 'log') return message;
  }
}

function stop(worker: Worker): Promise<void> {
  worker.postMessage('stop');
  return joinThread(worker);
}

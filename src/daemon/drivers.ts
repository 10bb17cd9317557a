/** The threads of the drivers: starting one, passing its log on, stopping it. */
import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { LcfsError } from '../engine/errors.js';
import type { ContainerdWorkerData } from '../drivers/containerd/worker.js';
import type { DockerWorkerData } from '../drivers/docker/worker.js';
import type { DriverMessage } from '../drivers/thread.js';
import type { Logger } from './log.js';
import { joinThread, startThread } from './threads.js';

export interface DriverThread {
  stop: () => Promise<void>;
}

/** Returns when Docker can connect. Throws LcfsError if the socket can't be had. */
export async function startDocker(data: DockerWorkerData, log: Logger): Promise<DriverThread> {
  const driver = await startDriver(new URL('../drivers/docker/worker.js', import.meta.url), 'docker', data, log);
  log.info(`the Docker graph driver is served on ${data.socket}`);
  return driver;
}

/** Returns when containerd can connect. Throws LcfsError if the socket can't be had. */
export async function startContainerd(data: ContainerdWorkerData, log: Logger): Promise<DriverThread> {
  const driver = await startDriver(new URL('../drivers/containerd/worker.js', import.meta.url), 'containerd', data, log);
  log.info(`containerd is served on ${data.socket}`);
  return driver;
}

async function startDriver(module: URL, name: string, data: unknown, log: Logger): Promise<DriverThread> {
  const worker = startThread(module, name, data, log);
  const answer = await firstAnswer(worker);
  if (answer.kind === 'failed') throw new LcfsError(answer.code, answer.message);
  const driverLog = log.child({ thread: name });
  worker.on('message', (message: DriverMessage) => {
    if (message.kind === 'log') driverLog[message.level](message.message);
  });
  return { stop: () => stop(worker) };
}

async function firstAnswer(worker: Worker): Promise<Exclude<DriverMessage, { kind: 'log' }>> {
  for (;;) {
    const [message] = (await once(worker, 'message')) as [DriverMessage];
    if (message.kind !== 'log') return message;
  }
}

function stop(worker: Worker): Promise<void> {
  worker.postMessage('stop');
  return joinThread(worker);
}

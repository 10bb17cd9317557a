/** A registry of container images on this machine, kept in a folder: the distribution's docker-registry. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { findCommand, needCommands } from './packages.js';
import { type Server, startServer, waitReady } from './run.js';

export class Registry {
  readonly #directory: string;
  #server: Server | undefined;
  #port = 0;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Host and port, known once it was started. */
  get host(): string {
    return `127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    await needCommands('docker-registry');
    mkdirSync(this.#directory, { recursive: true });
    this.#port = await freePort();
    const config = join(this.#directory, 'config.yml');
    writeFileSync(config, configuration(join(this.#directory, 'data'), this.host));
    this.#server = startServer(findCommand('docker-registry')!, ['serve', config], join(this.#directory, 'registry.log'));
    await waitReady(this.#server, 'docker-registry', () => answers(this.host));
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
    this.#server = undefined;
  }
}

function configuration(data: string, address: string): string {
  return `version: 0.1
log: { level: warn }
storage:
  filesystem: { rootdirectory: ${JSON.stringify(data)} }
  delete: { enabled: true }
http: { addr: ${JSON.stringify(address)} }
`;
}

/** A port that nobody listens on. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

async function answers(host: string): Promise<boolean> {
  try {
    return (await fetch(`http://${host}/v2/`)).ok;
  } catch {
    return false;
  }
}

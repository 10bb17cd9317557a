/** A private registry, from the distribution's docker-registry. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { findCommand } from '../../scripts/lib/packages.js';
import { type Server, startServer, waitReady } from '../../scripts/lib/run.js';

export class Registry {
  readonly port: number;
  readonly #server: Server;

  private constructor(port: number, server: Server) {
    this.port = port;
    this.#server = server;
  }

  /** Starts a registry on a free port of 127.0.0.1, which Docker trusts without TLS, with its files in `folder`. */
  static async start(folder: string): Promise<Registry> {
    mkdirSync(folder);
    const port = await freePort();
    const config = join(folder, 'config.yml');
    writeFileSync(config, `version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: ${folder}/data\nhttp:\n  addr: 127.0.0.1:${port}\n`);
    const server = startServer(findCommand('docker-registry')!, ['serve', config], join(folder, 'log'));
    await waitReady(server, 'docker-registry', () => answers(port));
    return new Registry(port, server);
  }

  async stop(): Promise<void> {
    await this.#server.stop();
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function answers(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/v2/`)).ok;
  } catch {
    return false;
  }
}

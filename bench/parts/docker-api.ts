/**
 * Containers driven through the API of a Docker Engine, so that the time of the command line client, the same for all
 * peers, does not blur the comparison.
 */
import { request } from 'node:http';
import type { PrivateDocker } from '../../scripts/lib/docker.js';

/** One call; throws if it is refused. */
export function callApi(docker: PrivateDocker, method: string, path: string, body?: object): Promise<string> {
  const options = {
    socketPath: docker.host.slice('unix://'.length),
    method,
    path: `/v1.40${path}`,
    headers: { 'Content-Type': 'application/json' },
  };
  return new Promise((resolve, reject) => {
    const outgoing = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        if (response.statusCode! < 400) resolve(text);
        else reject(new Error(`${method} ${path}: ${text.trim()}`));
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Returns the id of the new container. */
export async function createContainer(docker: PrivateDocker, image: string, command: readonly string[]): Promise<string> {
  const body = { Image: image, Cmd: command, HostConfig: { NetworkMode: 'host' } };
  return (JSON.parse(await callApi(docker, 'POST', '/containers/create', body)) as { Id: string }).Id;
}

/** Starts it and waits for its end. */
export async function runContainer(docker: PrivateDocker, id: string): Promise<void> {
  await callApi(docker, 'POST', `/containers/${id}/start`);
  await callApi(docker, 'POST', `/containers/${id}/wait`);
}

export async function removeContainer(docker: PrivateDocker, id: string): Promise<void> {
  await callApi(docker, 'DELETE', `/containers/${id}`);
}

/** Removes all containers and images, so that the next part finds nothing. */
export async function removeAll(docker: PrivateDocker): Promise<void> {
  const containers = JSON.parse(await callApi(docker, 'GET', '/containers/json?all=1')) as { Id: string }[];
  for (const { Id } of containers) await callApi(docker, 'DELETE', `/containers/${Id}?force=1`);
  await docker.docker('image', 'prune', '--all', '--force');
}

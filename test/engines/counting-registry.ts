/**
 * A registry of container images within the test, for what a real one does not do: it counts what is fetched, and a
 * download can be held up in the middle. Serves images from their folders, over plain HTTP, read-only.
 */
import { once } from 'node:events';
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { blobFile, type Image } from '../../scripts/lib/oci.js';

export class CountingRegistry {
  readonly #images = new Map<string, Image>();
  readonly #server: Server = createServer((request, response) => this.#answer(request, response));
  /** Digests of blobs in the order in which they were asked for. */
  fetched: string[] = [];
  /** Digest of a blob that is sent only by half, after which nothing more comes. */
  #stalled = '';
  #stallReached: (() => void) | undefined;
  readonly #heldUp = new Set<ServerResponse>();

  /** Host and port. */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** Offers an image as `<host>/<name>:latest`. Returns that reference. */
  add(name: string, image: Image): string {
    this.#images.set(name, image);
    return `${this.host}/${name}:latest`;
  }

  /** Holds up the next download of a blob at its half, until `letGo`. Resolves when it got there. */
  stall(digest: string): Promise<void> {
    this.#stalled = digest;
    return new Promise((resolve) => (this.#stallReached = resolve));
  }

  /** Breaks off the downloads that are held up, and holds up no more: who waits for the other half would do so for ever. */
  letGo(): void {
    this.#stalled = '';
    for (const response of this.#heldUp) response.destroy();
    this.#heldUp.clear();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const match = /^\/v2\/(?:(.+)\/(manifests|blobs)\/([^/]+))?$/.exec(request.url!.replace(/\?.*$/, ''));
    const image = this.#images.get(match?.[1] ?? '');
    if (match !== null && match[1] === undefined) response.end('{}');
    else if (match === null || image === undefined) response.writeHead(404).end();
    else this.#send(request, response, image, match[2] === 'blobs' ? match[3]! : image.descriptor.digest);
  }

  #send(request: IncomingMessage, response: ServerResponse, image: Image, digest: string): void {
    const file = blobFile(image.folder, { digest });
    if (!existsSync(file)) return void response.writeHead(404).end();
    const type = digest === image.descriptor.digest ? image.descriptor.mediaType : 'application/octet-stream';
    const size = statSync(file).size;
    response.writeHead(200, { 'content-type': type, 'content-length': size, 'docker-content-digest': digest });
    if (request.method === 'HEAD') return void response.end();
    this.fetched.push(digest);
    if (digest === this.#stalled) this.#sendHalf(file, size, response);
    else createReadStream(file).pipe(response);
  }

  #sendHalf(file: string, size: number, response: ServerResponse): void {
    this.#stalled = '';
    this.#heldUp.add(response);
    const half = createReadStream(file, { end: size >> 1 });
    half.pipe(response, { end: false });
    half.once('end', () => this.#stallReached?.());
  }
}

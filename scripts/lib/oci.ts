/**
 * Container images made from tar files of layers, without any engine: as an archive in OCI form to import, or pushed to a
 * registry. Layers can be compressed in each of the ways that images have them.
 */
import { createHash } from 'node:crypto';
import {
  createReadStream,
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { platform } from '../../src/cli/setup/machine.js';
import { run } from './run.js';

export type Compression = 'none' | 'gzip' | 'zstd';

const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar';
const MEDIA_TYPES: Readonly<Record<Compression, string>> = { none: LAYER_TYPE, gzip: `${LAYER_TYPE}+gzip`, zstd: `${LAYER_TYPE}+zstd` };
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json';
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';

export interface LayerSource {
  /** A tar file, not compressed. */
  tar: string;
  compression: Compression;
}

export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

export interface Manifest {
  schemaVersion: 2;
  mediaType: string;
  config: Descriptor;
  layers: Descriptor[];
}

/** An image as files: each blob in `folder`/blobs/sha256 under its digest. */
export interface Image {
  folder: string;
  manifest: Manifest;
  descriptor: Descriptor;
  /** Digests of the layers before compression. */
  diffIds: string[];
}

/** Digest of a file, as in `sha256:…`. */
export async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
}

/** What identifies each layer together with all below it: the names that containerd has for committed snapshots. */
export function chainIds(diffIds: readonly string[]): string[] {
  const ids: string[] = [];
  for (const diffId of diffIds) {
    const below = ids.at(-1);
    ids.push(below === undefined ? diffId : `sha256:${createHash('sha256').update(`${below} ${diffId}`).digest('hex')}`);
  }
  return ids;
}

/** Makes an image in an empty folder from layers, lowest first. */
export async function makeImage(folder: string, sources: readonly LayerSource[], command: readonly string[] = ['/bin/sh']): Promise<Image> {
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true });
  const layers: Descriptor[] = [];
  const diffIds: string[] = [];
  for (const source of sources) {
    diffIds.push(await digestOf(source.tar));
    layers.push(await addLayer(folder, source));
  }
  const config = addJson(folder, CONFIG_TYPE, imageConfig(diffIds, command));
  const manifest: Manifest = { schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers };
  return { folder, manifest, descriptor: addJson(folder, MANIFEST_TYPE, manifest), diffIds };
}

function imageConfig(diffIds: readonly string[], command: readonly string[]): object {
  const [os, architecture] = platform().split('/');
  const config = { Cmd: command, Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'] };
  return { created: '2024-01-01T00:00:00Z', architecture, os, config, rootfs: { type: 'layers', diff_ids: diffIds } };
}

async function addLayer(folder: string, { tar, compression }: LayerSource): Promise<Descriptor> {
  const work = mkdtempSync(join(folder, 'layer-'));
  const packed = join(work, 'blob');
  await compress(tar, packed, compression);
  const descriptor = { mediaType: MEDIA_TYPES[compression], digest: await digestOf(packed), size: statSync(packed).size };
  renameSync(packed, blobFile(folder, descriptor));
  rmSync(work, { recursive: true });
  return descriptor;
}

async function compress(from: string, to: string, compression: Compression): Promise<void> {
  if (compression === 'zstd') await run('zstd', ['-q', '-3', from, '-o', to]);
  else if (compression === 'gzip') await pipeline(createReadStream(from), createGzip({ level: 6 }), createWriteStream(to));
  else await pipeline(createReadStream(from), createWriteStream(to));
}

function addJson(folder: string, mediaType: string, value: object): Descriptor {
  return addBlob(folder, mediaType, Buffer.from(JSON.stringify(value)));
}

function addBlob(folder: string, mediaType: string, content: Buffer): Descriptor {
  const descriptor = { mediaType, digest: `sha256:${createHash('sha256').update(content).digest('hex')}`, size: content.length };
  writeFileSync(blobFile(folder, descriptor), content);
  return descriptor;
}

/** The image with another blob for one of its layers; what its configuration says of the layer stays. */
export function replaceLayer(image: Image, index: number, change: (blob: Buffer) => Buffer): Image {
  const { folder, manifest } = image;
  const layers = [...manifest.layers];
  layers[index] = addBlob(folder, layers[index]!.mediaType, change(readFileSync(blobFile(folder, layers[index]!))));
  const changed = { ...manifest, layers };
  return { ...image, manifest: changed, descriptor: addJson(folder, MANIFEST_TYPE, changed) };
}

export function blobFile(folder: string, { digest }: { digest: string }): string {
  return join(folder, 'blobs', digest.replace(':', '/'));
}

/** Packs an image into an archive that `ctr images import` and `docker load` take, under a full name such as `docker.io/lcfs/busybox:1`. */
export async function packImage(image: Image, name: string, archive: string): Promise<void> {
  const annotations = { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name.replace(/^.*:/, '') };
  const index = { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [{ ...image.descriptor, annotations }] };
  writeFileSync(join(image.folder, 'index.json'), JSON.stringify(index));
  writeFileSync(join(image.folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  mkdirSync(dirname(archive), { recursive: true });
  await run('tar', ['-C', image.folder, '-cf', archive, 'oci-layout', 'index.json', 'blobs']);
}

/** Pushes an image to a registry on this machine (plain HTTP). `registry` is host:port. */
export async function pushImage(image: Image, registry: string, repository: string, tag: string): Promise<void> {
  for (const blob of [image.manifest.config, ...image.manifest.layers]) await pushBlob(image, blob, registry, repository);
  const manifest = readFileSync(blobFile(image.folder, image.descriptor));
  await send('PUT', `http://${registry}/v2/${repository}/manifests/${tag}`, MANIFEST_TYPE, manifest);
}

async function pushBlob(image: Image, blob: Descriptor, registry: string, repository: string): Promise<void> {
  const location = await send('POST', `http://${registry}/v2/${repository}/blobs/uploads/`, 'application/octet-stream', Buffer.alloc(0));
  const target = new URL(location);
  target.searchParams.set('digest', blob.digest);
  await send('PUT', target.href, 'application/octet-stream', blobFile(image.folder, blob));
}

/** Sends a body, from memory or from a file. Returns the address that the answer names. */
function send(method: string, url: string, type: string, body: Buffer | string): Promise<string> {
  const length = typeof body === 'string' ? statSync(body).size : body.length;
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method, headers: { 'content-type': type, 'content-length': length } }, (answer) => {
      answer.resume();
      if (answer.statusCode! < 300) resolve(answer.headers.location ?? '');
      else reject(new Error(`${method} ${url}: ${answer.statusCode} ${answer.statusMessage}`));
    });
    outgoing.once('error', reject);
    if (typeof body === 'string') createReadStream(body).pipe(outgoing);
    else outgoing.end(body);
  });
}

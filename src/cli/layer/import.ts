/** `lcfs layer import`: a layer from an OCI layer tar. */
import { Command } from 'commander';
import { createReadStream, fstatSync, openSync } from 'node:fs';
import { PassThrough, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { ImportReport } from '../../daemon/protocol.js';
import { LcfsError } from '../../engine/errors.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from '../options.js';
import { meter, printJson, printLine, Progress } from '../output.js';
import { formatSize } from '../sizes.js';
import { layerPath } from './paths.js';

export function layerImportCommand(): Command {
  const command = new Command('import')
    .description('make a layer from an OCI layer tar (plain or gzip); it is sealed and durable when the command returns')
    .argument('<layer>', 'name of the new layer')
    .argument('[file]', 'the tar; - or nothing: standard input', '-')
    .option('--parent <layer>', 'the layer that the tar is a change to')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(importLayer);
  return examples(
    command,
    'lcfs layer import base base.tar',
    'docker save … | … | lcfs layer import web --parent base',
    'zstd -dc l.tar.zst | lcfs layer import l',
  );
}

async function importLayer(name: string, file: string, options: JsonOptions & { parent?: string }): Promise<void> {
  const daemon = await daemonFor(options);
  const progress = new Progress();
  const { stream, bytes } = openInput(file);
  const source = await unpacked(stream.pipe(meter(progress, 'imported', bytes)));
  const report = await daemon.upload<ImportReport>(layerPath(name, '/content'), source, { parent: options.parent }).finally(() => {
    progress.end();
    // An input that nobody reads any more must not keep the command from ending.
    stream.destroy();
  });
  if (options.json) printJson(report);
  else printLine(`imported ${formatSize(report.bytes)}, ${report.entries} entries, into ${report.layer.name}`);
}

function openInput(file: string): { stream: Readable; bytes: number | undefined } {
  if (file === '-') return { stream: process.stdin, bytes: undefined };
  const fd = openSync(file, 'r');
  const { size } = fstatSync(fd);
  return { stream: createReadStream(file, { fd }), bytes: size };
}

/** The plain tar, whatever the stream starts with. */
export async function unpacked(stream: Readable): Promise<Readable> {
  const start = await firstBytes(stream);
  if (start.readUInt32BE(0) === 0x28b52ffd) {
    throw new LcfsError('invalid', 'the file is compressed with zstd, which is not read here: pipe it through zstd -dc');
  }
  const isGzip = start.readUInt16BE(0) === 0x1f8b;
  const target = isGzip ? createGunzip() : new PassThrough();
  stream.once('error', (error) => target.destroy(error));
  return stream.pipe(target);
}

/** At least four bytes, zeros where the stream is shorter; the stream still starts with them. */
async function firstBytes(stream: Readable): Promise<Buffer> {
  const none = Buffer.alloc(4);
  const chunk = await new Promise<Buffer | null>((settle, reject) => {
    stream.once('error', reject);
    stream.once('end', () => settle(null));
    stream.once('readable', () => settle(stream.read() as Buffer | null));
  });
  if (chunk === null) return none;
  stream.unshift(chunk);
  return chunk.length < 4 ? Buffer.concat([chunk, none]) : chunk;
}

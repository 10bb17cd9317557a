/** `lcfs layer export`: what a layer changed, as an OCI layer tar. */
import { Command } from 'commander';
import { createWriteStream, unlinkSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { LcfsError } from '../../engine/errors.js';
import { controlOption, daemonFor, examples, type ControlOptions } from '../options.js';
import { meter, Progress } from '../output.js';
import { layerPath } from './paths.js';

export function layerExportCommand(): Command {
  const command = new Command('export')
    .description('write what a layer changed as an OCI layer tar')
    .argument('<layer>', 'name')
    .argument('[file]', 'where to; - or nothing: standard output', '-')
    .option('--base <layer>', 'what changed since this layer instead of the parent')
    .option('--whole', 'everything in the layer, not only what it changed')
    .addOption(controlOption())
    .action(exportLayer);
  return examples(command, 'lcfs layer export web web.tar', 'lcfs layer export web --whole | gzip > web.tar.gz');
}

async function exportLayer(name: string, file: string, options: ControlOptions & { base?: string; whole?: boolean }): Promise<void> {
  if (file === '-' && process.stdout.isTTY)
    throw new LcfsError('invalid', 'a tar is nothing for a terminal: name a file or redirect the output');
  const daemon = await daemonFor(options);
  const query = { base: options.base, whole: options.whole === true ? '1' : undefined };
  const { body, finish } = await daemon.download(layerPath(name, '/content'), query);
  const progress = new Progress();
  try {
    await pipeline(body, meter(progress, 'exported'), file === '-' ? process.stdout : createWriteStream(file), { end: file !== '-' });
    finish();
  } catch (error) {
    // Half a tar must not be taken for a whole one.
    if (file !== '-') unlinkSync(file);
    throw error;
  } finally {
    progress.end();
  }
}

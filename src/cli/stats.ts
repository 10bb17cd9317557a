/** `lcfs stats`: operations and their latencies per layer and kind. */
import { Command } from 'commander';
import type { LayerReport } from '../daemon/protocol.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from './options.js';
import { printJson, printLine, printTable } from './output.js';
import { formatMicroseconds } from './sizes.js';

export function statsCommand(): Command {
  const command = new Command('stats')
    .description('show operations and their latencies per layer and kind')
    .argument('[layer]', 'only this layer (the global one is called global)')
    .option('--clear', 'start counting from zero')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(stats);
  return examples(command, 'lcfs stats', 'lcfs stats web --json', 'lcfs stats --clear');
}

async function stats(layer: string | undefined, options: JsonOptions & { clear?: boolean }): Promise<void> {
  const daemon = await daemonFor(options);
  if (options.clear === true) {
    await daemon.call('DELETE', 'stats', undefined, { layer });
    return;
  }
  const reports = await daemon.call<LayerReport[]>('GET', 'stats', undefined, { layer });
  if (options.json) printJson(reports);
  else printReports(reports);
}

function printReports(reports: readonly LayerReport[]): void {
  if (reports.length === 0) printLine('no operations yet');
  const rows = reports.flatMap((report) =>
    report.operations.map((operation) => [
      report.layer,
      operation.kind,
      String(operation.count),
      String(operation.errors),
      formatMicroseconds(operation.totalMicroseconds / operation.count),
      formatMicroseconds(quantile(operation.histogram, 0.99)),
      formatMicroseconds(operation.longestMicroseconds),
    ]),
  );
  if (rows.length > 0) printTable(['LAYER', 'OPERATION', '>COUNT', '>ERRORS', '>MEAN', '>99 % BELOW', '>LONGEST'], rows);
}

/** Upper bound of the bucket that the quantile falls in: bucket b ends at 2^b microseconds. */
export function quantile(histogram: readonly number[], share: number): number {
  const wanted = share * histogram.reduce((sum, count) => sum + count, 0);
  let seen = 0;
  for (let bucket = 0; bucket < histogram.length; bucket++) {
    seen += histogram[bucket]!;
    if (seen >= wanted) return 2 ** bucket;
  }
  return 0;
}

/** `lcfs format`: makes a volume on a device or in a file. */
import { Command } from 'commander';
import { examples } from './options.js';
import { formatSize, parsePositiveSize } from './sizes.js';

export function formatCommand(): Command {
  const command = new Command('format')
    .description('make an empty volume on a block device or in a file')
    .argument('<device>', 'block device, or a file, which is made if it is not there')
    .option('--size <size>', 'size of the volume, needed for a new file', parsePositiveSize)
    .option('--force', 'format even if the device holds a filesystem or a volume')
    .option('--json', 'print JSON')
    .action(format);
  return examples(command, 'lcfs format /dev/sdb', 'lcfs format /srv/lcfs.img --size 20G');
}

async function format(device: string, options: { size?: number; force?: boolean; json?: boolean }): Promise<void> {
  const [{ formatVolume }, { printJson, printLine }, { statSync }] = await Promise.all([
    import('../engine/volume.js'),
    import('./output.js'),
    import('node:fs'),
  ]);
  formatVolume(device, { ...(options.size === undefined ? {} : { bytes: options.size }), force: options.force === true });
  const bytes = options.size ?? statSync(device).size;
  if (options.json) printJson({ volume: device, bytes });
  else printLine(`formatted ${device}${bytes > 0 ? ` (${formatSize(bytes)})` : ''}`);
}

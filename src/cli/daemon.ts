/** `lcfs daemon`: opens a volume, mounts it and serves it until it is stopped. */
import { Command, Option } from 'commander';
import { CONTAINERD_ADDRESS, CONTAINERD_SOCKET, DOCKER_SOCKET, type DaemonOptions } from '../daemon/options.js';
import { examples } from './options.js';
import { parsePositiveSize, parseSize } from './sizes.js';

const MEBIBYTE = 2 ** 20;
/** A week is long enough for 2 TiB; a disk hardly notices. */
const SCRUB_RATE = 4 * MEBIBYTE;

interface Flags {
  detach?: boolean;
  format?: boolean;
  size?: number;
  containerd?: string | true;
  containerdAddress: string;
  docker?: string | true;
  control?: string;
  cache: number;
  cacheMax?: number;
  transport: DaemonOptions['transport'];
  passthrough: DaemonOptions['passthrough'];
  fsync: DaemonOptions['fsync'];
  standby: DaemonOptions['standby'];
  scrubRate: number;
  log?: string;
  logLevel: string;
}

export function daemonCommand(): Command {
  const command = new Command('daemon')
    .description('mount a volume and serve it until it is stopped')
    .argument('<device>', 'block device or file with a volume')
    .argument('<mountpoint>', 'folder to mount it on, which is made if it is not there')
    .option('--detach', 'go to the background once the volume is mounted')
    .option('--format', 'format the volume first if the device does not hold one')
    .option('--size <size>', 'with --format: size of a new file', parsePositiveSize)
    .option('--containerd [socket]', `serve the snapshotter and differ for containerd (default socket: ${CONTAINERD_SOCKET})`)
    .option('--containerd-address <socket>', "containerd's own socket, for the differ", CONTAINERD_ADDRESS)
    .option('--docker [socket]', `serve the Docker graph driver (default socket: ${DOCKER_SOCKET})`)
    .option('--control <socket>', 'control socket (default: in /run/lcfs, named after the mountpoint)')
    .option('--cache <size>', 'memory for the page cache', parsePositiveSize, 256 * MEBIBYTE)
    .option('--cache-max <size>', 'how far lcfs pcache may raise it (default: four times --cache)', parsePositiveSize)
    .addOption(new Option('--transport <kind>', 'how requests come from the kernel').choices(['auto', 'uring', 'devfuse']).default('auto'))
    .addOption(
      new Option('--passthrough <mode>', 'auto: containers share what is cached of the files of their images, where the kernel can do that')
        .choices(['auto', 'off'])
        .default('auto'),
    )
    .addOption(
      new Option('--fsync <mode>', 'relaxed: fsync returns at once; strict: it waits for the device')
        .choices(['relaxed', 'strict'])
        .default('relaxed'),
    )
    .addOption(
      new Option('--standby <mode>', 'on: a second process waits to take over if the one that serves dies; takes some 45 MiB')
        .choices(['on', 'off'])
        .default('on'),
    )
    .addOption(
      new Option('--scrub-rate <size>', 'bytes a second for reading everything in use once a week, to find damage; 0: off')
        .argParser(parseSize)
        .default(SCRUB_RATE, '4M'),
    )
    .option('--log <file>', 'append the log to this file (default: stderr, or with --detach /var/log/lcfs/)')
    .addOption(
      new Option('--log-level <level>', 'least level that is logged')
        .choices(['trace', 'debug', 'info', 'warn', 'error', 'fatal'])
        .default('info'),
    )
    .action(daemon);
  command.addHelpText('after', DURABILITY);
  return examples(command, 'lcfs daemon /dev/sdb /lcfs --containerd --detach', 'lcfs daemon /srv/lcfs.img /lcfs --format --size 20G');
}

const DURABILITY = `
What has been written survives the end of the process that wrote it, and that of the process that serves the volume,
which is started again (lcfs status tells how often). After a crash of the machine the volume is complete and
consistent, but the last second may be missing, unless it was made durable (lcfs commit, or fsync):
  --fsync=relaxed  fsync returns at once and promises nothing more than that.
  --fsync=strict   fsync returns when the file, and all that was done before, is on the device. Slower.`;

async function daemon(device: string, mountpoint: string, flags: Flags): Promise<void> {
  const options = daemonOptions(device, mountpoint, flags);
  if (flags.detach === true) {
    const { detach } = await import('../daemon/detach.js');
    await detach(options);
    return;
  }
  const { runDaemon } = await import('../daemon/main.js');
  await runDaemon(options);
}

/** What the flags mean, defaults filled in. */
export function daemonOptions(device: string, mountpoint: string, flags: Flags): DaemonOptions {
  return {
    device,
    mountpoint,
    format: flags.format === true,
    formatBytes: flags.size ?? null,
    containerd: flags.containerd === true ? CONTAINERD_SOCKET : (flags.containerd ?? null),
    containerdAddress: flags.containerdAddress,
    docker: flags.docker === true ? DOCKER_SOCKET : (flags.docker ?? null),
    control: flags.control ?? null,
    cacheBytes: flags.cache,
    cacheBytesMax: Math.max(flags.cacheMax ?? 4 * flags.cache, flags.cache),
    transport: flags.transport,
    passthrough: flags.passthrough,
    fsync: flags.fsync,
    standby: flags.standby,
    scrubRate: flags.scrubRate,
    log: flags.log ?? null,
    logLevel: flags.logLevel,
  };
}

/** Units of systemd: LCFS is mounted before the engine starts, and stays until the engine has ended. */
export const UNIT_FILE = '/etc/systemd/system/lcfs.service';

export type Engine = 'containerd' | 'docker';

export interface Service {
  /** Words that start `lcfs`: the interpreter and the program, both absolute. */
  program: readonly string[];
  device: string;
  mountpoint: string;
  /** Size of the volume file, where there is none yet; a device is taken as a whole. */
  size: string;
  /** Options that say which engines are served. */
  serve: readonly string[];
}

/** Text of lcfs.service. */
export function lcfsUnit(service: Service): string {
  const { program, device, mountpoint, size, serve } = service;
  const isFile = !device.startsWith('/dev/');
  const start = [...program, 'daemon', device, mountpoint, '--format', ...(isFile ? ['--size', size] : []), ...serve, '--detach'];
  return `# Written by \`lcfs setup\`, removed by \`lcfs setup --remove\`.
[Unit]
Description=LCFS, a filesystem for container layers, on ${escaped(mountpoint)}
After=local-fs.target
RequiresMountsFor=${word(parentOf(device))}
Before=containerd.service docker.service

[Service]
Type=forking
KillMode=mixed
Restart=no
${isFile ? `ExecStartPre=/bin/mkdir -p ${word(parentOf(device))}\n` : ''}ExecStart=${start.map(word).join(' ')}
ExecStop=${[...program, 'stop', mountpoint].map(word).join(' ')}
LimitNOFILE=infinity
LimitMEMLOCK=infinity
TasksMax=infinity
OOMScoreAdjust=-999
CPUWeight=300
TimeoutStartSec=10min
TimeoutStopSec=5min

[Install]
WantedBy=multi-user.target
`;
}

export function dropInFile(engine: Engine): string {
  return `/etc/systemd/system/${engine}.service.d/lcfs.conf`;
}

/** Text of a drop-in of the engine's own unit: it must not start, or go on, without its volume. `variables` are NAME=VALUE. */
export function engineDropIn(variables: readonly string[] = []): string {
  const lines = variables.map((variable) => `Environment=${quoted(escaped(variable))}\n`).join('');
  const environment = lines === '' ? '' : `\n[Service]\n${lines}`;
  return `# Written by \`lcfs setup\`, removed by \`lcfs setup --remove\`.
[Unit]
Requires=lcfs.service
After=lcfs.service
${environment}`;
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

/** A word of a command line as systemd reads it. */
const word = (text: string): string => quoted(escaped(text).replaceAll('$', '$$$$'));

function quoted(text: string): string {
  return /[\s"'\\;]/.test(text) ? `"${text.replace(/["\\]/g, String.raw`\$&`)}"` : text;
}

const escaped = (text: string): string => text.replaceAll('%', '%%');

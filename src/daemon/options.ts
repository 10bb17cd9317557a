/** What a daemon is started with. A plain value: it travels to the background process as JSON. */
export const DOCKER_SOCKET = '/run/docker/plugins/lcfs.sock';
export const CONTAINERD_SOCKET = '/run/lcfs/containerd.sock';
export const CONTAINERD_ADDRESS = '/run/containerd/containerd.sock';

export interface DaemonOptions {
  /** Block device or file. */
  device: string;
  mountpoint: string;
  /** Format a device that holds no volume. */
  format: boolean;
  /** Size of a new file; null: the device's own. */
  formatBytes: number | null;
  /** Socket of the snapshotter and differ for containerd; null: don't serve containerd. */
  containerd: string | null;
  /** Containerd's own socket, whose content store the differ reads and writes. */
  containerdAddress: string;
  /** Socket of the Docker graph driver; null: don't serve Docker. */
  docker: string | null;
  /** Control socket; null: the default one for the mountpoint. */
  control: string | null;
  cacheBytes: number;
  /** Memory that is reserved, but not used, for a larger cache. */
  cacheBytesMax: number;
  transport: 'auto' | 'uring' | 'devfuse';
  /** Whether files that layers share pass through to one copy in the page cache. */
  passthrough: 'auto' | 'off';
  fsync: 'relaxed' | 'strict';
  /** Whether a second process waits to take over if the first one dies. */
  standby: 'on' | 'off';
  /** Bytes a second that are read in the background to find damage; 0: none. */
  scrubRate: number;
  /** File that the log is appended to; null: stderr. */
  log: string | null;
  logLevel: string;
}

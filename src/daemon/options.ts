/** What a daemon is started with. A plain value: it travels to the background process as JSON. */
export const DOCKER_SOCKET = '/run/docker/plugins/lcfs.sock';

export interface DaemonOptions {
  /** Block device or file. */
  device: string;
  mountpoint: string;
  /** Format a device that holds no volume. */
  format: boolean;
  /** Size of a new file; null: the device's own. */
  formatBytes: number | null;
  /** Socket of the Docker graph driver; null: don't serve Docker. */
  docker: string | null;
  /** Control socket; null: the default one for the mountpoint. */
  control: string | null;
  cacheBytes: number;
  /** Memory that is reserved, but not used, for a larger cache. */
  cacheBytesMax: number;
  transport: 'auto' | 'uring' | 'devfuse';
  fsync: 'relaxed' | 'strict';
  /** File that the log is appended to; null: stderr. */
  log: string | null;
  logLevel: string;
}

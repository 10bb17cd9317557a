/** Loop devices: block devices whose contents are a file's. */
import { closeSync, openSync } from 'node:fs';
import { addressOf, errno, ioctl } from './libc.js';
import { EBUSY } from './errno.js';

const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
/** struct loop_config (Linux 5.8): descriptor, block size, struct loop_info64, eight words of nothing. */
const CONFIG_BYTES = 304;
const CONFIG_FD_WORD = 0;
const CONFIG_FLAGS_WORD = 15;
const AUTOCLEAR = 4;
/** Somebody else may take the device that was free, again and again. */
const TRIES = 64;

export interface LoopDevice {
  readonly path: string;
  /** Open descriptor: the device goes when this and all other users are closed. */
  readonly fd: number;
}

/** A block device with the contents of `file`, which may be closed afterwards. Throws Error where that cannot be had. */
export function createLoop(file: number): LoopDevice {
  const control = openSync('/dev/loop-control', 'r+');
  try {
    for (let tries = 0; tries < TRIES; tries++) {
      const device = configureFree(control, file);
      if (device !== null) return device;
    }
    throw new Error('every loop device that was free was taken by somebody else');
  } finally {
    closeSync(control);
  }
}

/** Null: somebody else was quicker. */
function configureFree(control: number, file: number): LoopDevice | null {
  const number = ioctl(control, LOOP_CTL_GET_FREE, 0);
  if (number < 0) throw new Error(`no loop device is to be had (errno ${errno()})`);
  const path = `/dev/loop${number}`;
  const fd = openSync(path, 'r+');
  const config = new Uint32Array(CONFIG_BYTES / 4);
  config[CONFIG_FD_WORD] = file;
  config[CONFIG_FLAGS_WORD] = AUTOCLEAR;
  if (ioctl(fd, LOOP_CONFIGURE, addressOf(config)) === 0) return { path, fd };
  const error = errno();
  closeSync(fd);
  if (error === EBUSY) return null;
  throw new Error(`${path} cannot be set up (errno ${error})`);
}

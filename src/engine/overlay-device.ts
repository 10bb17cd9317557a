/** A device whose writes stay in memory: what is tried on it never comes about. */
import { BLOCK_BYTES } from '../layout/constants.js';
import { copyBytes } from '../linux/bytes.js';
import { addressOf } from '../linux/libc.js';
import type { Device } from './device.js';

/** Reads come from `below`, but for blocks that were written. Calls are for whole blocks, as the engine's are. */
export function overlayDevice(below: Device): Device {
  const written = new Map<number, Uint8Array>();
  return {
    read(address, bytes, offset) {
      const got = below.read(address, bytes, offset);
      for (let at = 0; at < got; at += BLOCK_BYTES) {
        const held = written.get(offset + at);
        if (held !== undefined) copyBytes(address + at, addressOf(held), BLOCK_BYTES);
      }
      return got;
    },
    write(address, bytes, offset) {
      for (let at = 0; at < bytes; at += BLOCK_BYTES) {
        const held = written.get(offset + at) ?? new Uint8Array(new SharedArrayBuffer(BLOCK_BYTES));
        copyBytes(addressOf(held), address + at, BLOCK_BYTES);
        written.set(offset + at, held);
      }
      return bytes;
    },
    flush: () => 0,
    discard: () => undefined,
  };
}

/** Telling the kernel that a layer came, went or has another name, so that what it cached of `layers/` is forgotten. */
import { announceLayer } from '../fuse/notify.js';

/** To be called without any engine lock, with each name that changed its meaning. */
export type Announce = (name: string) => void;

/** Announces through the /dev/fuse descriptor `device`. */
export function announcer(device: number): Announce {
  return (name) => announceLayer(device, name);
}

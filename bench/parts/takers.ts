/**
 * Which peers take part in what Docker does. vfs copies the whole image for each layer and container, which takes minutes
 * for each figure on the slow disk, and has no room on its disk for a build of many steps.
 */
import { type Disk, type PeerName, PEERS } from '../harness/types.js';

export const WITHOUT_VFS = PEERS.filter((name) => name !== 'vfs');
export const TAKERS: Readonly<Record<Disk, readonly PeerName[]>> = { fast: PEERS, slow: WITHOUT_VFS };
/** Those that the aims are about. */
export const PAIR: readonly PeerName[] = ['lcfs', 'overlay2'];

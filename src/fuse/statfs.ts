/** STATFS: the space of the volume or, within a layer that has a quota, what the quota leaves. */
import { FREE_BLOCKS, RESERVE_BLOCKS, TOTAL_BLOCKS } from '../engine/arena.js';
import { beginRead, end, opRecord } from '../engine/operation.js';
import { pendingBlocks } from '../engine/space.js';
import { BLOCK_BYTES, GLOBAL_LAYER, INO_MAX, NAME_BYTES_MAX } from '../layout/constants.js';
import { W } from '../layout/memory.js';
import { layerInodes, layerOwnBlocks, layerQuotaBlocks } from '../layout/records.js';
import * as P from './protocol.js';
import { clearReply, layerOf, reply64, type Request } from './request.js';

let quotaBlocks = 0;
let usedBlocks = 0;
let inodes = 0;

/** Takes the figures of a layer from its record. */
function loadLayer(layer: number): number {
  const slot = beginRead(layer);
  if (slot < 0) return slot;
  const record = opRecord();
  quotaBlocks = layerQuotaBlocks(record);
  usedBlocks = layerOwnBlocks(record);
  inodes = layerInodes(record);
  return end(0);
}

export function getStatistics(r: Request): number {
  const result = loadLayer(layerOf(r));
  return result < 0 ? result : replyStatistics(r);
}

/** The synthetic directories show the volume as the global layer does, which has no quota. */
export function getVolumeStatistics(r: Request): number {
  const result = loadLayer(GLOBAL_LAYER);
  return result < 0 ? result : replyStatistics(r);
}

function replyStatistics(r: Request): number {
  // Blocks freed since the last checkpoint count: a write that needs them makes the checkpoint.
  const volumeFree = W[FREE_BLOCKS]! + pendingBlocks();
  const left = quotaBlocks === 0 ? volumeFree : Math.max(0, quotaBlocks - usedBlocks);
  const free = Math.min(volumeFree, left);
  const available = Math.min(Math.max(0, volumeFree - W[RESERVE_BLOCKS]!), left);
  const total = quotaBlocks === 0 ? W[TOTAL_BLOCKS]! : quotaBlocks;
  clearReply(r, P.STATFS_BYTES);
  reply64(r, P.STATFS_BLOCKS, total);
  reply64(r, P.STATFS_FREE, free);
  reply64(r, P.STATFS_AVAILABLE, available);
  reply64(r, P.STATFS_FILES, INO_MAX);
  reply64(r, P.STATFS_FILES_FREE, INO_MAX - inodes);
  r.words[r.replyWord + P.STATFS_BLOCK_BYTES] = BLOCK_BYTES;
  r.words[r.replyWord + P.STATFS_NAME_BYTES] = NAME_BYTES_MAX;
  r.words[r.replyWord + P.STATFS_FRAGMENT_BYTES] = BLOCK_BYTES;
  return P.STATFS_BYTES;
}

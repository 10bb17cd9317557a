/** Numbers of the format and of the arena, each with the arithmetic behind it. */

/** Layer index: names a layer for ever; 0 is the global layer. */
export type LayerIndex = number;
/** Number of a 4 KiB block on the device. */
export type BlockNumber = number;
/** Inode number within a layer: 2 (ROOT_INO) to 2^31 - 1, as a FUSE nodeid keeps one bit for itself. */
export type Ino = number;

export const FORMAT_VERSION = 3;
/** "LCFS" and "LCFP" read as little-endian words. */
export const SUPERBLOCK_MAGIC = 0x5346434c;
export const PAGE_MAGIC = 0x5046434c;
/** "LCFB": a batch of the intent log. */
export const BATCH_MAGIC = 0x4246434c;
/** First block of the intent log: behind the superblocks and the bitmap of the first group. */
export const LOG_START_BLOCK = 4;

export const BLOCK_BYTES = 4096;
export const BLOCK_WORDS = BLOCK_BYTES / 4;
/** One bitmap block describes as many blocks as it has bits. */
export const GROUP_BLOCKS = BLOCK_BYTES * 8;
/** Two superblocks, two copies of the first group's bitmap, the catalog's root, a layer's root and room for work. */
export const VOLUME_BLOCKS_MIN = 1024;
/** u32 block numbers: 16 TiB. */
export const VOLUME_BLOCKS_MAX = 0xffff_fff0;

/** Owner of the catalog's pages; no layer ever gets this index. Tables that keep "index + 1, 0 for none" have room for it. */
export const CATALOG_OWNER = 0xffff_fffe;
export const GLOBAL_LAYER = 0;

export const ROOT_INO = 2;
export const INO_MAX = 0x7fff_fffe;
/** The directory /lost+found that repair makes: a number that no other inode gets. */
export const LOST_FOUND_INO = INO_MAX + 1;
export const NAME_BYTES_MAX = 255;
/** PATH_MAX less the terminating byte. */
export const SYMLINK_BYTES_MAX = 4095;
export const XATTR_BYTES_MAX = 65536;
/** Key and value of a property of a layer. */
export const PROPERTY_KEY_BYTES_MAX = 512;
export const PROPERTY_BYTES_MAX = 131_072;
/** u32 file blocks of 4 KiB: 16 TiB less one block. */
export const FILE_BYTES_MAX = 0xffff_ffff * BLOCK_BYTES;

/** Record types of a layer tree, in key order within one inode. */
export const INODE = 1;
export const LINK = 2;
export const XATTR = 3;
export const SYMLINK = 4;
export const DIRENT = 5;
export const EXTENT = 6;
/** Key0 is 0 for orphans: (0, ORPHAN, 0, ino), all at the start of the tree. */
export const ORPHAN = 7;
/** Key0 is 0: (0, RECIPE, layer index, chunk number), how the archive of that layer was put together. */
export const RECIPE = 8;

/** Record types of the catalog. */
export const LAYER = 1;
export const LAYER_NAME = 2;
export const CHILD = 3;
export const PROPERTY = 4;
/** Key0 0: (0, NAME, name hash) -> layer index and name. */
export const NAME = 5;
/** Key0 = group number. */
export const GROUP = 6;
/** Key0 0: (0, REMOVING, 0, layer index). */
export const REMOVING = 7;

/** Bits of a layer's flags: what fsync promises, if it is not what the daemon says. */
export const LAYER_FSYNC_STRICT = 1;
export const LAYER_FSYNC_RELAXED = 2;

export const LAYER_WRITABLE = 1;
export const LAYER_SEALED = 2;
export const LAYER_REMOVING = 3;
/** In memory only: a change of the layer was cut off by a device error. */
export const LAYER_BROKEN = 4;

export const INODE_HAS_XATTR = 1;
export const INODE_HAS_ACL = 2;
export const INODE_HAS_DEFAULT_ACL = 4;

/** Page header, then slots of two bytes growing up, records growing down from the end. */
export const PAGE_HEADER_BYTES = 32;
/** A quarter of a page, so that after any split each half takes any record: (4096 - 32) / 4 less slot and header. */
export const VALUE_BYTES_MAX = 976;
/** 16 bytes of extent and 4 of checksum a block: 64 blocks (256 KiB of data) make a record of 288 bytes. */
export const EXTENT_BLOCKS_MAX = 64;
/**
 * Extents of file blocks that a repair found lost: they belong to nobody and lead beyond the largest volume, so reading them
 * gives EIO and nothing frees them. With 16 blocks at most, block numbers of their parts stay within 32 bits.
 */
export const LOST_OWNER = 0xffff_ffff;
export const LOST_BLOCK = VOLUME_BLOCKS_MAX;
export const LOST_EXTENT_BLOCKS = 16;

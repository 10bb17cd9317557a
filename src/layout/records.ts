/* Generated from tables.ts by `npm run generate`. Do not edit. `at` is the word index of the record. */
import { I, W } from './memory.js';

// Superblock (blocks 0 and 1; the one with the higher valid generation counts)

/** Size of the record in words. */
export const SUPERBLOCK_WORDS = 32;

/** SUPERBLOCK_MAGIC. */
export const superblockMagic = (at: number): number => W[at]!;
export const setSuperblockMagic = (at: number, value: number): void => void (W[at] = value);

/** Crc32 of the 4096 bytes of the block from word 2 on. */
export const superblockChecksum = (at: number): number => W[at + 1]!;
export const setSuperblockChecksum = (at: number, value: number): void => void (W[at + 1] = value);

/** FORMAT_VERSION of the software that formatted the volume. */
export const superblockVersion = (at: number): number => W[at + 2]!;
export const setSuperblockVersion = (at: number, value: number): void => void (W[at + 2] = value);

/** Generation of the checkpoint that this superblock completes. Zero: never written. */
export const superblockGeneration = (at: number): number => W[at + 3]!;
export const setSuperblockGeneration = (at: number, value: number): void => void (W[at + 3] = value);

/** Size of the volume in blocks. */
export const superblockBlocks = (at: number): number => W[at + 4]!;
export const setSuperblockBlocks = (at: number, value: number): void => void (W[at + 4] = value);

/** Root page of the catalog. */
export const superblockCatalogBlock = (at: number): number => W[at + 5]!;
export const setSuperblockCatalogBlock = (at: number, value: number): void => void (W[at + 5] = value);

/** Generation that wrote the root page of the catalog. */
export const superblockCatalogGeneration = (at: number): number => W[at + 6]!;
export const setSuperblockCatalogGeneration = (at: number, value: number): void => void (W[at + 6] = value);

/** Layer index that the next new layer gets. */
export const superblockNextLayer = (at: number): number => W[at + 7]!;
export const setSuperblockNextLayer = (at: number, value: number): void => void (W[at + 7] = value);

/** Key of the name hash, first word. */
export const superblockHashKey0 = (at: number): number => W[at + 8]!;
export const setSuperblockHashKey0 = (at: number, value: number): void => void (W[at + 8] = value);

/** Key of the name hash, second word. */
export const superblockHashKey1 = (at: number): number => W[at + 9]!;
export const setSuperblockHashKey1 = (at: number, value: number): void => void (W[at + 9] = value);

/** Volume id, first word. */
export const superblockUuid0 = (at: number): number => W[at + 10]!;
export const setSuperblockUuid0 = (at: number, value: number): void => void (W[at + 10] = value);

/** Volume id. */
export const superblockUuid1 = (at: number): number => W[at + 11]!;
export const setSuperblockUuid1 = (at: number, value: number): void => void (W[at + 11] = value);

/** Volume id. */
export const superblockUuid2 = (at: number): number => W[at + 12]!;
export const setSuperblockUuid2 = (at: number, value: number): void => void (W[at + 12] = value);

/** Volume id, last word. */
export const superblockUuid3 = (at: number): number => W[at + 13]!;
export const setSuperblockUuid3 = (at: number, value: number): void => void (W[at + 13] = value);

/** Time of formatting, seconds since 1970, low word. */
export const superblockCreatedLo = (at: number): number => W[at + 14]!;
export const setSuperblockCreatedLo = (at: number, value: number): void => void (W[at + 14] = value);

/** Time of formatting, high word. */
export const superblockCreatedHi = (at: number): number => W[at + 15]!;
export const setSuperblockCreatedHi = (at: number, value: number): void => void (W[at + 15] = value);

/** Time of this checkpoint, seconds since 1970, low word. */
export const superblockCheckpointLo = (at: number): number => W[at + 16]!;
export const setSuperblockCheckpointLo = (at: number, value: number): void => void (W[at + 16] = value);

/** Time of this checkpoint, high word. */
export const superblockCheckpointHi = (at: number): number => W[at + 17]!;
export const setSuperblockCheckpointHi = (at: number, value: number): void => void (W[at + 17] = value);

/** Free blocks at this checkpoint. */
export const superblockFreeBlocks = (at: number): number => W[at + 18]!;
export const setSuperblockFreeBlocks = (at: number, value: number): void => void (W[at + 18] = value);

/** Layers at this checkpoint, the global one included. */
export const superblockLayers = (at: number): number => W[at + 19]!;
export const setSuperblockLayers = (at: number, value: number): void => void (W[at + 19] = value);

/** 1 when the volume was closed with nothing left to do. Zero: in use, or left by a crash. */
export const superblockCleanlyClosed = (at: number): number => W[at + 20]!;
export const setSuperblockCleanlyClosed = (at: number, value: number): void => void (W[at + 20] = value);

// Header of a tree page (a 4 KiB block of a layer tree or of the catalog)

/** Size of the record in words. */
export const PAGE_WORDS = 8;

/** PAGE_MAGIC. */
export const pageMagic = (at: number): number => W[at]!;
export const setPageMagic = (at: number, value: number): void => void (W[at] = value);

/** Crc32 of the block from word 2 on. */
export const pageChecksum = (at: number): number => W[at + 1]!;
export const setPageChecksum = (at: number, value: number): void => void (W[at + 1] = value);

/** Number of the block that holds this page. */
export const pageBlock = (at: number): number => W[at + 2]!;
export const setPageBlock = (at: number, value: number): void => void (W[at + 2] = value);

/** Layer index of the layer that wrote the page, or CATALOG_OWNER. */
export const pageOwner = (at: number): number => W[at + 3]!;
export const setPageOwner = (at: number, value: number): void => void (W[at + 3] = value);

/** Generation in which the page was allocated. */
export const pageGeneration = (at: number): number => W[at + 4]!;
export const setPageGeneration = (at: number, value: number): void => void (W[at + 4] = value);

/** Level in the low half (0: leaf), number of records in the high half. */
export const pageLevelCount = (at: number): number => W[at + 5]!;
export const setPageLevelCount = (at: number, value: number): void => void (W[at + 5] = value);

/** Byte offset of the lowest record; records lie between it and the end of the page. */
export const pageHeap = (at: number): number => W[at + 6]!;
export const setPageHeap = (at: number, value: number): void => void (W[at + 6] = value);

/** Bytes of removed records between `heap` and the end of the page. */
export const pageGarbage = (at: number): number => W[at + 7]!;
export const setPageGarbage = (at: number, value: number): void => void (W[at + 7] = value);

// Header of a record in a tree page; the value follows

/** Size of the record in words. */
export const RECORD_WORDS = 4;

/** Inode number (layer trees) or layer index, group, … (catalog). */
export const recordKey0 = (at: number): number => W[at]!;
export const setRecordKey0 = (at: number, value: number): void => void (W[at] = value);

/** Record type in the high half, length of the value in bytes in the low half. */
export const recordTypeBytes = (at: number): number => W[at + 1]!;
export const setRecordTypeBytes = (at: number, value: number): void => void (W[at + 1] = value);

/** Offset, high word. */
export const recordHi = (at: number): number => W[at + 2]!;
export const setRecordHi = (at: number, value: number): void => void (W[at + 2] = value);

/** Offset, low word. */
export const recordLo = (at: number): number => W[at + 3]!;
export const setRecordLo = (at: number, value: number): void => void (W[at + 3] = value);

// Value of a record in an inner page: the page below, whose keys are not lower than the record’s

/** Size of the record in words. */
export const CHILD_WORDS = 3;

/** Block of the page below. */
export const childBlock = (at: number): number => W[at]!;
export const setChildBlock = (at: number, value: number): void => void (W[at] = value);

/** Owner of the page below, equal to its header. */
export const childOwner = (at: number): number => W[at + 1]!;
export const setChildOwner = (at: number, value: number): void => void (W[at + 1] = value);

/** Generation of the page below, equal to its header. */
export const childGeneration = (at: number): number => W[at + 2]!;
export const setChildGeneration = (at: number, value: number): void => void (W[at + 2] = value);

// Inode (type INODE, offset 0)

/** Size of the record in words. */
export const INODE_WORDS = 24;

/** File type and permissions as in stat(2). */
export const inodeMode = (at: number): number => W[at]!;
export const setInodeMode = (at: number, value: number): void => void (W[at] = value);

/** Owner. */
export const inodeUid = (at: number): number => W[at + 1]!;
export const setInodeUid = (at: number, value: number): void => void (W[at + 1] = value);

/** Group. */
export const inodeGid = (at: number): number => W[at + 2]!;
export const setInodeGid = (at: number, value: number): void => void (W[at + 2] = value);

/** Number of names; directories: 2 + subdirectories. Zero: an orphan, unlinked but still open. */
export const inodeLinks = (at: number): number => W[at + 3]!;
export const setInodeLinks = (at: number, value: number): void => void (W[at + 3] = value);

/** Size in bytes, low word; directories: number of entries × 32. */
export const inodeSizeLo = (at: number): number => W[at + 4]!;
export const setInodeSizeLo = (at: number, value: number): void => void (W[at + 4] = value);

/** Size in bytes, high word. */
export const inodeSizeHi = (at: number): number => W[at + 5]!;
export const setInodeSizeHi = (at: number, value: number): void => void (W[at + 5] = value);

/** Data blocks that are stored for the file, inherited ones included. */
export const inodeBlocks = (at: number): number => W[at + 6]!;
export const setInodeBlocks = (at: number, value: number): void => void (W[at + 6] = value);

/** Device number in the form of new_encode_dev, for device nodes. */
export const inodeRdev = (at: number): number => W[at + 7]!;
export const setInodeRdev = (at: number, value: number): void => void (W[at + 7] = value);

/** Access time, seconds, low word. */
export const inodeAtimeLo = (at: number): number => W[at + 8]!;
export const setInodeAtimeLo = (at: number, value: number): void => void (W[at + 8] = value);

/** Access time, seconds, high word. */
export const inodeAtimeHi = (at: number): number => I[at + 9]!;
export const setInodeAtimeHi = (at: number, value: number): void => void (I[at + 9] = value);

/** Access time, nanoseconds. */
export const inodeAtimeNsec = (at: number): number => W[at + 10]!;
export const setInodeAtimeNsec = (at: number, value: number): void => void (W[at + 10] = value);

/** Modification time, seconds, low word. */
export const inodeMtimeLo = (at: number): number => W[at + 11]!;
export const setInodeMtimeLo = (at: number, value: number): void => void (W[at + 11] = value);

/** Modification time, seconds, high word. */
export const inodeMtimeHi = (at: number): number => I[at + 12]!;
export const setInodeMtimeHi = (at: number, value: number): void => void (I[at + 12] = value);

/** Modification time, nanoseconds. */
export const inodeMtimeNsec = (at: number): number => W[at + 13]!;
export const setInodeMtimeNsec = (at: number, value: number): void => void (W[at + 13] = value);

/** Change time, seconds, low word. */
export const inodeCtimeLo = (at: number): number => W[at + 14]!;
export const setInodeCtimeLo = (at: number, value: number): void => void (W[at + 14] = value);

/** Change time, seconds, high word. */
export const inodeCtimeHi = (at: number): number => I[at + 15]!;
export const setInodeCtimeHi = (at: number, value: number): void => void (I[at + 15] = value);

/** Change time, nanoseconds. */
export const inodeCtimeNsec = (at: number): number => W[at + 16]!;
export const setInodeCtimeNsec = (at: number, value: number): void => void (W[at + 16] = value);

/** Birth time, seconds, low word. */
export const inodeBtimeLo = (at: number): number => W[at + 17]!;
export const setInodeBtimeLo = (at: number, value: number): void => void (W[at + 17] = value);

/** Birth time, seconds, high word. */
export const inodeBtimeHi = (at: number): number => I[at + 18]!;
export const setInodeBtimeHi = (at: number, value: number): void => void (I[at + 18] = value);

/** Birth time, nanoseconds. */
export const inodeBtimeNsec = (at: number): number => W[at + 19]!;
export const setInodeBtimeNsec = (at: number, value: number): void => void (W[at + 19] = value);

/** INODE_HAS_XATTR, INODE_HAS_ACL, INODE_HAS_DEFAULT_ACL. */
export const inodeFlags = (at: number): number => W[at + 20]!;
export const setInodeFlags = (at: number, value: number): void => void (W[at + 20] = value);

/** Directories: number of entries. */
export const inodeEntries = (at: number): number => W[at + 21]!;
export const setInodeEntries = (at: number, value: number): void => void (W[at + 21] = value);

// Directory entry (type DIRENT, offset = name hash; the name follows, not terminated)

/** Size of the record in words. */
export const DIRENT_WORDS = 2;

/** Inode of the entry. */
export const direntIno = (at: number): number => W[at]!;
export const setDirentIno = (at: number, value: number): void => void (W[at] = value);

/** File type, mode >> 12. */
export const direntKind = (at: number): number => W[at + 1]!;
export const setDirentKind = (at: number, value: number): void => void (W[at + 1] = value);

// Back reference (type LINK, offset = that of the directory entry): one for each name of an inode

/** Size of the record in words. */
export const LINK_WORDS = 1;

/** Inode of the directory that holds the name. */
export const linkParent = (at: number): number => W[at]!;
export const setLinkParent = (at: number, value: number): void => void (W[at] = value);

// Extent (type EXTENT, offset = first file block; one crc32 for each block follows)

/** Size of the record in words. */
export const EXTENT_WORDS = 4;

/** First block on the device. */
export const extentBlock = (at: number): number => W[at]!;
export const setExtentBlock = (at: number, value: number): void => void (W[at] = value);

/** Length in blocks, 1 to EXTENT_BLOCKS_MAX. */
export const extentLength = (at: number): number => W[at + 1]!;
export const setExtentLength = (at: number, value: number): void => void (W[at + 1] = value);

/** Layer index of the layer that wrote the data. */
export const extentOwner = (at: number): number => W[at + 2]!;
export const setExtentOwner = (at: number, value: number): void => void (W[at + 2] = value);

/** Generation in which the blocks were allocated. */
export const extentGeneration = (at: number): number => W[at + 3]!;
export const setExtentGeneration = (at: number, value: number): void => void (W[at + 3] = value);

// Layer (catalog, type LAYER, key = layer index)

/** Size of the record in words. */
export const LAYER_WORDS = 32;

/** LAYER_WRITABLE, LAYER_SEALED or LAYER_REMOVING. */
export const layerState = (at: number): number => W[at]!;
export const setLayerState = (at: number, value: number): void => void (W[at] = value);

/** Layer index of the parent. Zero: a layer without parent. */
export const layerParent = (at: number): number => W[at + 1]!;
export const setLayerParent = (at: number, value: number): void => void (W[at + 1] = value);

/** Root page of the layer tree. */
export const layerRootBlock = (at: number): number => W[at + 2]!;
export const setLayerRootBlock = (at: number, value: number): void => void (W[at + 2] = value);

/** Owner of the root page. */
export const layerRootOwner = (at: number): number => W[at + 3]!;
export const setLayerRootOwner = (at: number, value: number): void => void (W[at + 3] = value);

/** Generation of the root page. */
export const layerRootGeneration = (at: number): number => W[at + 4]!;
export const setLayerRootGeneration = (at: number, value: number): void => void (W[at + 4] = value);

/** Inode number that the next new inode gets. */
export const layerNextIno = (at: number): number => W[at + 5]!;
export const setLayerNextIno = (at: number, value: number): void => void (W[at + 5] = value);

/** Tree pages that the layer owns. */
export const layerOwnPages = (at: number): number => W[at + 6]!;
export const setLayerOwnPages = (at: number, value: number): void => void (W[at + 6] = value);

/** Data blocks that the layer owns. */
export const layerOwnBlocks = (at: number): number => W[at + 7]!;
export const setLayerOwnBlocks = (at: number, value: number): void => void (W[at + 7] = value);

/** Data blocks that the layer may own. Zero: no limit. */
export const layerQuotaBlocks = (at: number): number => W[at + 8]!;
export const setLayerQuotaBlocks = (at: number, value: number): void => void (W[at + 8] = value);

/** Inodes in the layer tree, inherited ones included. */
export const layerInodes = (at: number): number => W[at + 9]!;
export const setLayerInodes = (at: number, value: number): void => void (W[at + 9] = value);

/** Time of creation, seconds since 1970, low word. */
export const layerCreatedLo = (at: number): number => W[at + 10]!;
export const setLayerCreatedLo = (at: number, value: number): void => void (W[at + 10] = value);

/** Time of creation, high word. */
export const layerCreatedHi = (at: number): number => W[at + 11]!;
export const setLayerCreatedHi = (at: number, value: number): void => void (W[at + 11] = value);

/** Number of layers whose parent this is. */
export const layerChildren = (at: number): number => W[at + 12]!;
export const setLayerChildren = (at: number, value: number): void => void (W[at + 12] = value);

/** Length of the chain of parents. Zero: a layer without parent. */
export const layerDepth = (at: number): number => W[at + 13]!;
export const setLayerDepth = (at: number, value: number): void => void (W[at + 13] = value);

/** LAYER_REMOVING: keys below the cursor are freed already; key word 0. */
export const layerCursorKey0 = (at: number): number => W[at + 14]!;
export const setLayerCursorKey0 = (at: number, value: number): void => void (W[at + 14] = value);

/** LAYER_REMOVING: cursor, type. */
export const layerCursorType = (at: number): number => W[at + 15]!;
export const setLayerCursorType = (at: number, value: number): void => void (W[at + 15] = value);

/** LAYER_REMOVING: cursor, offset high word. */
export const layerCursorHi = (at: number): number => W[at + 16]!;
export const setLayerCursorHi = (at: number, value: number): void => void (W[at + 16] = value);

/** LAYER_REMOVING: cursor, offset low word. */
export const layerCursorLo = (at: number): number => W[at + 17]!;
export const setLayerCursorLo = (at: number, value: number): void => void (W[at + 17] = value);

/** Reserved for marks of the drivers. */
export const layerFlags = (at: number): number => W[at + 18]!;
export const setLayerFlags = (at: number, value: number): void => void (W[at + 18] = value);

// Block group (catalog, type GROUP, key = group number)

/** Size of the record in words. */
export const GROUP_WORDS = 3;

/** Which of the two copies of the bitmap counts, 0 or 1. */
export const groupLive = (at: number): number => W[at]!;
export const setGroupLive = (at: number, value: number): void => void (W[at] = value);

/** Free blocks of the group. */
export const groupFree = (at: number): number => W[at + 1]!;
export const setGroupFree = (at: number, value: number): void => void (W[at + 1] = value);

/** Crc32 of the live copy. */
export const groupChecksum = (at: number): number => W[at + 2]!;
export const setGroupChecksum = (at: number, value: number): void => void (W[at + 2] = value);

// Layer slot: the arena’s working copy of a layer record

/** Size of the record in words. */
export const SLOT_WORDS = 64;

/** Layer index + 1. Zero: the slot is free. */
export const slotLayer = (at: number): number => W[at]!;
export const setSlotLayer = (at: number, value: number): void => void (W[at] = value);

/** Operations that use the slot; only an unpinned slot changes its layer. */
export const slotPinsAt = (at: number): number => at + 1;
export const loadSlotPins = (at: number): number => Atomics.load(I, at + 1);
export const storeSlotPins = (at: number, value: number): void => void Atomics.store(I, at + 1, value);
export const addSlotPins = (at: number, value: number): number => Atomics.add(I, at + 1, value);

/** Reader/writer lock of the layer tree (locks.ts). */
export const slotLockAt = (at: number): number => at + 2;
export const loadSlotLock = (at: number): number => Atomics.load(I, at + 2);
export const storeSlotLock = (at: number, value: number): void => void Atomics.store(I, at + 2, value);
export const addSlotLock = (at: number, value: number): number => Atomics.add(I, at + 2, value);

/** 1 when the record differs from the catalog; written under the layer lock. */
export const slotDirty = (at: number): number => W[at + 3]!;
export const setSlotDirty = (at: number, value: number): void => void (W[at + 3] = value);

/** Second-chance bit of slot eviction. */
export const slotUsed = (at: number): number => W[at + 4]!;
export const setSlotUsed = (at: number, value: number): void => void (W[at + 4] = value);

/** Next slot of the same hash bucket + 1. Zero: end of the chain. */
export const slotNext = (at: number): number => W[at + 5]!;
export const setSlotNext = (at: number, value: number): void => void (W[at + 5] = value);

/** Users that hold the layer (drivers); a held layer is not removed. */
export const slotMountsAt = (at: number): number => at + 6;
export const loadSlotMounts = (at: number): number => Atomics.load(I, at + 6);
export const storeSlotMounts = (at: number, value: number): void => void Atomics.store(I, at + 6, value);
export const addSlotMounts = (at: number, value: number): number => Atomics.add(I, at + 6, value);

/** Generation of the last change of the tree. */
export const slotChanged = (at: number): number => W[at + 7]!;
export const setSlotChanged = (at: number, value: number): void => void (W[at + 7] = value);

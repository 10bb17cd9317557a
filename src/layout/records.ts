/* Generated from tables.ts by `npm run generate`. Do not edit. `at` is the word index of the record. */
import { I, W } from './memory.js';

// Superblock (blocks 0 and 1; the one with the higher valid generation counts)

/** Size of the record in words. */
export const SUPERBLOCK_WORDS = 32;

/** SUPERBLOCK_MAGIC. */
export const superblockMagicAt = (at: number): number => at;
export const superblockMagic = (at: number): number => W[at]!;
export const setSuperblockMagic = (at: number, value: number): void => void (W[at] = value);

/** Crc32 of the 4096 bytes of the block from word 2 on. */
export const superblockChecksumAt = (at: number): number => at + 1;
export const superblockChecksum = (at: number): number => W[at + 1]!;
export const setSuperblockChecksum = (at: number, value: number): void => void (W[at + 1] = value);

/** FORMAT_VERSION of the software that formatted the volume. */
export const superblockVersionAt = (at: number): number => at + 2;
export const superblockVersion = (at: number): number => W[at + 2]!;
export const setSuperblockVersion = (at: number, value: number): void => void (W[at + 2] = value);

/** Generation of the checkpoint that this superblock completes. Zero: never written. */
export const superblockGenerationAt = (at: number): number => at + 3;
export const superblockGeneration = (at: number): number => W[at + 3]!;
export const setSuperblockGeneration = (at: number, value: number): void => void (W[at + 3] = value);

/** Size of the volume in blocks. */
export const superblockBlocksAt = (at: number): number => at + 4;
export const superblockBlocks = (at: number): number => W[at + 4]!;
export const setSuperblockBlocks = (at: number, value: number): void => void (W[at + 4] = value);

/** Root page of the catalog. */
export const superblockCatalogBlockAt = (at: number): number => at + 5;
export const superblockCatalogBlock = (at: number): number => W[at + 5]!;
export const setSuperblockCatalogBlock = (at: number, value: number): void => void (W[at + 5] = value);

/** Generation that wrote the root page of the catalog. */
export const superblockCatalogGenerationAt = (at: number): number => at + 6;
export const superblockCatalogGeneration = (at: number): number => W[at + 6]!;
export const setSuperblockCatalogGeneration = (at: number, value: number): void => void (W[at + 6] = value);

/** Layer index that the next new layer gets. */
export const superblockNextLayerAt = (at: number): number => at + 7;
export const superblockNextLayer = (at: number): number => W[at + 7]!;
export const setSuperblockNextLayer = (at: number, value: number): void => void (W[at + 7] = value);

/** Key of the name hash, first word. */
export const superblockHashKey0At = (at: number): number => at + 8;
export const superblockHashKey0 = (at: number): number => W[at + 8]!;
export const setSuperblockHashKey0 = (at: number, value: number): void => void (W[at + 8] = value);

/** Key of the name hash, second word. */
export const superblockHashKey1At = (at: number): number => at + 9;
export const superblockHashKey1 = (at: number): number => W[at + 9]!;
export const setSuperblockHashKey1 = (at: number, value: number): void => void (W[at + 9] = value);

/** Volume id, first word. */
export const superblockUuid0At = (at: number): number => at + 10;
export const superblockUuid0 = (at: number): number => W[at + 10]!;
export const setSuperblockUuid0 = (at: number, value: number): void => void (W[at + 10] = value);

/** Volume id. */
export const superblockUuid1At = (at: number): number => at + 11;
export const superblockUuid1 = (at: number): number => W[at + 11]!;
export const setSuperblockUuid1 = (at: number, value: number): void => void (W[at + 11] = value);

/** Volume id. */
export const superblockUuid2At = (at: number): number => at + 12;
export const superblockUuid2 = (at: number): number => W[at + 12]!;
export const setSuperblockUuid2 = (at: number, value: number): void => void (W[at + 12] = value);

/** Volume id, last word. */
export const superblockUuid3At = (at: number): number => at + 13;
export const superblockUuid3 = (at: number): number => W[at + 13]!;
export const setSuperblockUuid3 = (at: number, value: number): void => void (W[at + 13] = value);

/** Time of formatting, seconds since 1970, low word. */
export const superblockCreatedLoAt = (at: number): number => at + 14;
export const superblockCreatedLo = (at: number): number => W[at + 14]!;
export const setSuperblockCreatedLo = (at: number, value: number): void => void (W[at + 14] = value);

/** Time of formatting, high word. */
export const superblockCreatedHiAt = (at: number): number => at + 15;
export const superblockCreatedHi = (at: number): number => W[at + 15]!;
export const setSuperblockCreatedHi = (at: number, value: number): void => void (W[at + 15] = value);

/** Time of this checkpoint, seconds since 1970, low word. */
export const superblockCheckpointLoAt = (at: number): number => at + 16;
export const superblockCheckpointLo = (at: number): number => W[at + 16]!;
export const setSuperblockCheckpointLo = (at: number, value: number): void => void (W[at + 16] = value);

/** Time of this checkpoint, high word. */
export const superblockCheckpointHiAt = (at: number): number => at + 17;
export const superblockCheckpointHi = (at: number): number => W[at + 17]!;
export const setSuperblockCheckpointHi = (at: number, value: number): void => void (W[at + 17] = value);

/** Free blocks at this checkpoint. */
export const superblockFreeBlocksAt = (at: number): number => at + 18;
export const superblockFreeBlocks = (at: number): number => W[at + 18]!;
export const setSuperblockFreeBlocks = (at: number, value: number): void => void (W[at + 18] = value);

/** Layers at this checkpoint, the global one included. */
export const superblockLayersAt = (at: number): number => at + 19;
export const superblockLayers = (at: number): number => W[at + 19]!;
export const setSuperblockLayers = (at: number, value: number): void => void (W[at + 19] = value);

/** 1 when the volume was closed with nothing left to do. Zero: in use, or left by a crash. */
export const superblockCleanlyClosedAt = (at: number): number => at + 20;
export const superblockCleanlyClosed = (at: number): number => W[at + 20]!;
export const setSuperblockCleanlyClosed = (at: number, value: number): void => void (W[at + 20] = value);

/** Size of the intent log, which begins at block 4, in blocks: a power of two. */
export const superblockLogBlocksAt = (at: number): number => at + 21;
export const superblockLogBlocks = (at: number): number => W[at + 21]!;
export const setSuperblockLogBlocks = (at: number, value: number): void => void (W[at + 21] = value);

/** Position of the first batch of the log that belongs to this checkpoint, counted in blocks. */
export const superblockLogPositionAt = (at: number): number => at + 22;
export const superblockLogPosition = (at: number): number => W[at + 22]!;
export const setSuperblockLogPosition = (at: number, value: number): void => void (W[at + 22] = value);

/** Number of that batch. */
export const superblockLogSequenceAt = (at: number): number => at + 23;
export const superblockLogSequence = (at: number): number => W[at + 23]!;
export const setSuperblockLogSequence = (at: number, value: number): void => void (W[at + 23] = value);

/** Entries and batches of higher generations are not in this checkpoint. */
export const superblockLogGenerationAt = (at: number): number => at + 24;
export const superblockLogGeneration = (at: number): number => W[at + 24]!;
export const setSuperblockLogGeneration = (at: number, value: number): void => void (W[at + 24] = value);

// Header of a batch of the intent log; entries follow, in whole blocks

/** Size of the record in words. */
export const BATCH_WORDS = 16;

/** BATCH_MAGIC. */
export const batchMagicAt = (at: number): number => at;
export const batchMagic = (at: number): number => W[at]!;
export const setBatchMagic = (at: number, value: number): void => void (W[at] = value);

/** Crc32 of header and entries from word 2 of the header on. */
export const batchChecksumAt = (at: number): number => at + 1;
export const batchChecksum = (at: number): number => W[at + 1]!;
export const setBatchChecksum = (at: number, value: number): void => void (W[at + 1] = value);

/** Length of the entries in words. */
export const batchWordsAt = (at: number): number => at + 2;
export const batchWords = (at: number): number => W[at + 2]!;
export const setBatchWords = (at: number, value: number): void => void (W[at + 2] = value);

/** Number of the batch: one more than that of the batch before. */
export const batchSequenceAt = (at: number): number => at + 3;
export const batchSequence = (at: number): number => W[at + 3]!;
export const setBatchSequence = (at: number, value: number): void => void (W[at + 3] = value);

/** Generation that was open when the batch was written. */
export const batchGenerationAt = (at: number): number => at + 4;
export const batchGeneration = (at: number): number => W[at + 4]!;
export const setBatchGeneration = (at: number, value: number): void => void (W[at + 4] = value);

/** Volume id, first word. */
export const batchUuid0At = (at: number): number => at + 5;
export const batchUuid0 = (at: number): number => W[at + 5]!;
export const setBatchUuid0 = (at: number, value: number): void => void (W[at + 5] = value);

/** Volume id. */
export const batchUuid1At = (at: number): number => at + 6;
export const batchUuid1 = (at: number): number => W[at + 6]!;
export const setBatchUuid1 = (at: number, value: number): void => void (W[at + 6] = value);

/** Volume id. */
export const batchUuid2At = (at: number): number => at + 7;
export const batchUuid2 = (at: number): number => W[at + 7]!;
export const setBatchUuid2 = (at: number, value: number): void => void (W[at + 7] = value);

/** Volume id, last word. */
export const batchUuid3At = (at: number): number => at + 8;
export const batchUuid3 = (at: number): number => W[at + 8]!;
export const setBatchUuid3 = (at: number, value: number): void => void (W[at + 8] = value);

/** LogGeneration of the last complete checkpoint when the batch was written (0: not said). */
export const batchLogGenerationAt = (at: number): number => at + 9;
export const batchLogGeneration = (at: number): number => W[at + 9]!;
export const setBatchLogGeneration = (at: number, value: number): void => void (W[at + 9] = value);

// Header of a tree page (a 4 KiB block of a layer tree or of the catalog)

/** Size of the record in words. */
export const PAGE_WORDS = 8;

/** PAGE_MAGIC. */
export const pageMagicAt = (at: number): number => at;
export const pageMagic = (at: number): number => W[at]!;
export const setPageMagic = (at: number, value: number): void => void (W[at] = value);

/** Crc32 of the block from word 2 on. */
export const pageChecksumAt = (at: number): number => at + 1;
export const pageChecksum = (at: number): number => W[at + 1]!;
export const setPageChecksum = (at: number, value: number): void => void (W[at + 1] = value);

/** Number of the block that holds this page. */
export const pageBlockAt = (at: number): number => at + 2;
export const pageBlock = (at: number): number => W[at + 2]!;
export const setPageBlock = (at: number, value: number): void => void (W[at + 2] = value);

/** Layer index of the layer that wrote the page, or CATALOG_OWNER. */
export const pageOwnerAt = (at: number): number => at + 3;
export const pageOwner = (at: number): number => W[at + 3]!;
export const setPageOwner = (at: number, value: number): void => void (W[at + 3] = value);

/** Generation in which the page was allocated. */
export const pageGenerationAt = (at: number): number => at + 4;
export const pageGeneration = (at: number): number => W[at + 4]!;
export const setPageGeneration = (at: number, value: number): void => void (W[at + 4] = value);

/** Number of records in the low half, level in the high half (0: leaf). */
export const pageLevelCountAt = (at: number): number => at + 5;
export const pageLevelCount = (at: number): number => W[at + 5]!;
export const setPageLevelCount = (at: number, value: number): void => void (W[at + 5] = value);

/** Word index of the lowest record; records lie between it and the end of the page. */
export const pageHeapAt = (at: number): number => at + 6;
export const pageHeap = (at: number): number => W[at + 6]!;
export const setPageHeap = (at: number, value: number): void => void (W[at + 6] = value);

/** Words of removed records between `heap` and the end of the page. */
export const pageGarbageAt = (at: number): number => at + 7;
export const pageGarbage = (at: number): number => W[at + 7]!;
export const setPageGarbage = (at: number, value: number): void => void (W[at + 7] = value);

// Header of a record in a tree page; the value follows

/** Size of the record in words. */
export const RECORD_WORDS = 4;

/** Inode number (layer trees) or layer index, group, … (catalog). */
export const recordKey0At = (at: number): number => at;
export const recordKey0 = (at: number): number => W[at]!;
export const setRecordKey0 = (at: number, value: number): void => void (W[at] = value);

/** Record type in the high half, length of the value in bytes in the low half. */
export const recordTypeBytesAt = (at: number): number => at + 1;
export const recordTypeBytes = (at: number): number => W[at + 1]!;
export const setRecordTypeBytes = (at: number, value: number): void => void (W[at + 1] = value);

/** Offset, high word. */
export const recordHiAt = (at: number): number => at + 2;
export const recordHi = (at: number): number => W[at + 2]!;
export const setRecordHi = (at: number, value: number): void => void (W[at + 2] = value);

/** Offset, low word. */
export const recordLoAt = (at: number): number => at + 3;
export const recordLo = (at: number): number => W[at + 3]!;
export const setRecordLo = (at: number, value: number): void => void (W[at + 3] = value);

// Value of a record in an inner page: the page below, whose keys are not lower than the record’s

/** Size of the record in words. */
export const CHILD_WORDS = 3;

/** Block of the page below. */
export const childBlockAt = (at: number): number => at;
export const childBlock = (at: number): number => W[at]!;
export const setChildBlock = (at: number, value: number): void => void (W[at] = value);

/** Owner of the page below, equal to its header. */
export const childOwnerAt = (at: number): number => at + 1;
export const childOwner = (at: number): number => W[at + 1]!;
export const setChildOwner = (at: number, value: number): void => void (W[at + 1] = value);

/** Generation of the page below, equal to its header. */
export const childGenerationAt = (at: number): number => at + 2;
export const childGeneration = (at: number): number => W[at + 2]!;
export const setChildGeneration = (at: number, value: number): void => void (W[at + 2] = value);

// Inode (type INODE, offset 0)

/** Size of the record in words. */
export const INODE_WORDS = 24;

/** File type and permissions as in stat(2). */
export const inodeModeAt = (at: number): number => at;
export const inodeMode = (at: number): number => W[at]!;
export const setInodeMode = (at: number, value: number): void => void (W[at] = value);

/** Owner. */
export const inodeUidAt = (at: number): number => at + 1;
export const inodeUid = (at: number): number => W[at + 1]!;
export const setInodeUid = (at: number, value: number): void => void (W[at + 1] = value);

/** Group. */
export const inodeGidAt = (at: number): number => at + 2;
export const inodeGid = (at: number): number => W[at + 2]!;
export const setInodeGid = (at: number, value: number): void => void (W[at + 2] = value);

/** Number of names; directories: 2 + subdirectories. Zero: an orphan, unlinked but still open. */
export const inodeLinksAt = (at: number): number => at + 3;
export const inodeLinks = (at: number): number => W[at + 3]!;
export const setInodeLinks = (at: number, value: number): void => void (W[at + 3] = value);

/** Size in bytes, low word; directories: number of entries × 32. */
export const inodeSizeLoAt = (at: number): number => at + 4;
export const inodeSizeLo = (at: number): number => W[at + 4]!;
export const setInodeSizeLo = (at: number, value: number): void => void (W[at + 4] = value);

/** Size in bytes, high word. */
export const inodeSizeHiAt = (at: number): number => at + 5;
export const inodeSizeHi = (at: number): number => W[at + 5]!;
export const setInodeSizeHi = (at: number, value: number): void => void (W[at + 5] = value);

/** Data blocks that are stored for the file, inherited ones included. */
export const inodeBlocksAt = (at: number): number => at + 6;
export const inodeBlocks = (at: number): number => W[at + 6]!;
export const setInodeBlocks = (at: number, value: number): void => void (W[at + 6] = value);

/** Device number in the form of new_encode_dev, for device nodes. */
export const inodeRdevAt = (at: number): number => at + 7;
export const inodeRdev = (at: number): number => W[at + 7]!;
export const setInodeRdev = (at: number, value: number): void => void (W[at + 7] = value);

/** Access time, seconds, low word. */
export const inodeAtimeLoAt = (at: number): number => at + 8;
export const inodeAtimeLo = (at: number): number => W[at + 8]!;
export const setInodeAtimeLo = (at: number, value: number): void => void (W[at + 8] = value);

/** Access time, seconds, high word. */
export const inodeAtimeHiAt = (at: number): number => at + 9;
export const inodeAtimeHi = (at: number): number => I[at + 9]!;
export const setInodeAtimeHi = (at: number, value: number): void => void (I[at + 9] = value);

/** Access time, nanoseconds. */
export const inodeAtimeNsecAt = (at: number): number => at + 10;
export const inodeAtimeNsec = (at: number): number => W[at + 10]!;
export const setInodeAtimeNsec = (at: number, value: number): void => void (W[at + 10] = value);

/** Modification time, seconds, low word. */
export const inodeMtimeLoAt = (at: number): number => at + 11;
export const inodeMtimeLo = (at: number): number => W[at + 11]!;
export const setInodeMtimeLo = (at: number, value: number): void => void (W[at + 11] = value);

/** Modification time, seconds, high word. */
export const inodeMtimeHiAt = (at: number): number => at + 12;
export const inodeMtimeHi = (at: number): number => I[at + 12]!;
export const setInodeMtimeHi = (at: number, value: number): void => void (I[at + 12] = value);

/** Modification time, nanoseconds. */
export const inodeMtimeNsecAt = (at: number): number => at + 13;
export const inodeMtimeNsec = (at: number): number => W[at + 13]!;
export const setInodeMtimeNsec = (at: number, value: number): void => void (W[at + 13] = value);

/** Change time, seconds, low word. */
export const inodeCtimeLoAt = (at: number): number => at + 14;
export const inodeCtimeLo = (at: number): number => W[at + 14]!;
export const setInodeCtimeLo = (at: number, value: number): void => void (W[at + 14] = value);

/** Change time, seconds, high word. */
export const inodeCtimeHiAt = (at: number): number => at + 15;
export const inodeCtimeHi = (at: number): number => I[at + 15]!;
export const setInodeCtimeHi = (at: number, value: number): void => void (I[at + 15] = value);

/** Change time, nanoseconds. */
export const inodeCtimeNsecAt = (at: number): number => at + 16;
export const inodeCtimeNsec = (at: number): number => W[at + 16]!;
export const setInodeCtimeNsec = (at: number, value: number): void => void (W[at + 16] = value);

/** Birth time, seconds, low word. */
export const inodeBtimeLoAt = (at: number): number => at + 17;
export const inodeBtimeLo = (at: number): number => W[at + 17]!;
export const setInodeBtimeLo = (at: number, value: number): void => void (W[at + 17] = value);

/** Birth time, seconds, high word. */
export const inodeBtimeHiAt = (at: number): number => at + 18;
export const inodeBtimeHi = (at: number): number => I[at + 18]!;
export const setInodeBtimeHi = (at: number, value: number): void => void (I[at + 18] = value);

/** Birth time, nanoseconds. */
export const inodeBtimeNsecAt = (at: number): number => at + 19;
export const inodeBtimeNsec = (at: number): number => W[at + 19]!;
export const setInodeBtimeNsec = (at: number, value: number): void => void (W[at + 19] = value);

/** INODE_HAS_XATTR, INODE_HAS_ACL, INODE_HAS_DEFAULT_ACL. */
export const inodeFlagsAt = (at: number): number => at + 20;
export const inodeFlags = (at: number): number => W[at + 20]!;
export const setInodeFlags = (at: number, value: number): void => void (W[at + 20] = value);

/** Directories: number of entries. */
export const inodeEntriesAt = (at: number): number => at + 21;
export const inodeEntries = (at: number): number => W[at + 21]!;
export const setInodeEntries = (at: number, value: number): void => void (W[at + 21] = value);

/** Regular files: layer index of the layer that last changed data or size. Zero: no regular file, or one of layer 0. */
export const inodeContentLayerAt = (at: number): number => at + 22;
export const inodeContentLayer = (at: number): number => W[at + 22]!;
export const setInodeContentLayer = (at: number, value: number): void => void (W[at + 22] = value);

// Directory entry (type DIRENT, offset = name hash; the name follows, not terminated)

/** Size of the record in words. */
export const DIRENT_WORDS = 2;

/** Inode of the entry. */
export const direntInoAt = (at: number): number => at;
export const direntIno = (at: number): number => W[at]!;
export const setDirentIno = (at: number, value: number): void => void (W[at] = value);

/** File type, mode >> 12. */
export const direntKindAt = (at: number): number => at + 1;
export const direntKind = (at: number): number => W[at + 1]!;
export const setDirentKind = (at: number, value: number): void => void (W[at + 1] = value);

// Back reference (type LINK, offset = that of the directory entry): one for each name of an inode

/** Size of the record in words. */
export const LINK_WORDS = 1;

/** Inode of the directory that holds the name. */
export const linkParentAt = (at: number): number => at;
export const linkParent = (at: number): number => W[at]!;
export const setLinkParent = (at: number, value: number): void => void (W[at] = value);

// Extended attribute (type XATTR, offset = name hash | collision << 8 | chunk); this is chunk 0, then name and value follow, over as many chunks as they need

/** Size of the record in words. */
export const XATTR_WORDS = 2;

/** Length of the name, 1 to 255. */
export const xattrNameBytesAt = (at: number): number => at;
export const xattrNameBytes = (at: number): number => W[at]!;
export const setXattrNameBytes = (at: number, value: number): void => void (W[at] = value);

/** Length of the value, 0 to XATTR_BYTES_MAX. */
export const xattrValueBytesAt = (at: number): number => at + 1;
export const xattrValueBytes = (at: number): number => W[at + 1]!;
export const setXattrValueBytes = (at: number, value: number): void => void (W[at + 1] = value);

// Property of a layer (catalog, type PROPERTY, offset = hash of the key | collision << 8 | chunk); this is chunk 0, then key and value follow, over as many chunks as they need

/** Size of the record in words. */
export const PROPERTY_WORDS = 2;

/** Length of the key, 1 to PROPERTY_KEY_BYTES_MAX. */
export const propertyKeyBytesAt = (at: number): number => at;
export const propertyKeyBytes = (at: number): number => W[at]!;
export const setPropertyKeyBytes = (at: number, value: number): void => void (W[at] = value);

/** Length of the value, 0 to PROPERTY_BYTES_MAX. */
export const propertyValueBytesAt = (at: number): number => at + 1;
export const propertyValueBytes = (at: number): number => W[at + 1]!;
export const setPropertyValueBytes = (at: number, value: number): void => void (W[at + 1] = value);

// Extent (type EXTENT, offset = first file block; one crc32 for each block follows)

/** Size of the record in words. */
export const EXTENT_WORDS = 4;

/** First block on the device. */
export const extentBlockAt = (at: number): number => at;
export const extentBlock = (at: number): number => W[at]!;
export const setExtentBlock = (at: number, value: number): void => void (W[at] = value);

/** Length in blocks, 1 to EXTENT_BLOCKS_MAX. */
export const extentLengthAt = (at: number): number => at + 1;
export const extentLength = (at: number): number => W[at + 1]!;
export const setExtentLength = (at: number, value: number): void => void (W[at + 1] = value);

/** Layer index of the layer that wrote the data. */
export const extentOwnerAt = (at: number): number => at + 2;
export const extentOwner = (at: number): number => W[at + 2]!;
export const setExtentOwner = (at: number, value: number): void => void (W[at + 2] = value);

/** Generation in which the blocks were allocated. */
export const extentGenerationAt = (at: number): number => at + 3;
export const extentGeneration = (at: number): number => W[at + 3]!;
export const setExtentGeneration = (at: number, value: number): void => void (W[at + 3] = value);

// Layer (catalog, type LAYER, key = layer index)

/** Size of the record in words. */
export const LAYER_WORDS = 32;

/** LAYER_WRITABLE, LAYER_SEALED or LAYER_REMOVING. */
export const layerStateAt = (at: number): number => at;
export const layerState = (at: number): number => W[at]!;
export const setLayerState = (at: number, value: number): void => void (W[at] = value);

/** Layer index of the parent. Zero: a layer without parent. */
export const layerParentAt = (at: number): number => at + 1;
export const layerParent = (at: number): number => W[at + 1]!;
export const setLayerParent = (at: number, value: number): void => void (W[at + 1] = value);

/** Root page of the layer tree. */
export const layerRootBlockAt = (at: number): number => at + 2;
export const layerRootBlock = (at: number): number => W[at + 2]!;
export const setLayerRootBlock = (at: number, value: number): void => void (W[at + 2] = value);

/** Owner of the root page. */
export const layerRootOwnerAt = (at: number): number => at + 3;
export const layerRootOwner = (at: number): number => W[at + 3]!;
export const setLayerRootOwner = (at: number, value: number): void => void (W[at + 3] = value);

/** Generation of the root page. */
export const layerRootGenerationAt = (at: number): number => at + 4;
export const layerRootGeneration = (at: number): number => W[at + 4]!;
export const setLayerRootGeneration = (at: number, value: number): void => void (W[at + 4] = value);

/** Inode number that the next new inode gets. */
export const layerNextInoAt = (at: number): number => at + 5;
export const layerNextIno = (at: number): number => W[at + 5]!;
export const setLayerNextIno = (at: number, value: number): void => void (W[at + 5] = value);

/** Tree pages that the layer owns. */
export const layerOwnPagesAt = (at: number): number => at + 6;
export const layerOwnPages = (at: number): number => W[at + 6]!;
export const setLayerOwnPages = (at: number, value: number): void => void (W[at + 6] = value);

/** Data blocks that the layer owns. */
export const layerOwnBlocksAt = (at: number): number => at + 7;
export const layerOwnBlocks = (at: number): number => W[at + 7]!;
export const setLayerOwnBlocks = (at: number, value: number): void => void (W[at + 7] = value);

/** Data blocks that the layer may own. Zero: no limit. */
export const layerQuotaBlocksAt = (at: number): number => at + 8;
export const layerQuotaBlocks = (at: number): number => W[at + 8]!;
export const setLayerQuotaBlocks = (at: number, value: number): void => void (W[at + 8] = value);

/** Inodes in the layer tree, inherited ones included. */
export const layerInodesAt = (at: number): number => at + 9;
export const layerInodes = (at: number): number => W[at + 9]!;
export const setLayerInodes = (at: number, value: number): void => void (W[at + 9] = value);

/** Time of creation, seconds since 1970, low word. */
export const layerCreatedLoAt = (at: number): number => at + 10;
export const layerCreatedLo = (at: number): number => W[at + 10]!;
export const setLayerCreatedLo = (at: number, value: number): void => void (W[at + 10] = value);

/** Time of creation, high word. */
export const layerCreatedHiAt = (at: number): number => at + 11;
export const layerCreatedHi = (at: number): number => W[at + 11]!;
export const setLayerCreatedHi = (at: number, value: number): void => void (W[at + 11] = value);

/** Number of layers whose parent this is. */
export const layerChildrenAt = (at: number): number => at + 12;
export const layerChildren = (at: number): number => W[at + 12]!;
export const setLayerChildren = (at: number, value: number): void => void (W[at + 12] = value);

/** Length of the chain of parents. Zero: a layer without parent. */
export const layerDepthAt = (at: number): number => at + 13;
export const layerDepth = (at: number): number => W[at + 13]!;
export const setLayerDepth = (at: number, value: number): void => void (W[at + 13] = value);

/** LAYER_REMOVING: keys below the cursor are freed already; key word 0. */
export const layerCursorKey0At = (at: number): number => at + 14;
export const layerCursorKey0 = (at: number): number => W[at + 14]!;
export const setLayerCursorKey0 = (at: number, value: number): void => void (W[at + 14] = value);

/** LAYER_REMOVING: cursor, type. */
export const layerCursorTypeAt = (at: number): number => at + 15;
export const layerCursorType = (at: number): number => W[at + 15]!;
export const setLayerCursorType = (at: number, value: number): void => void (W[at + 15] = value);

/** LAYER_REMOVING: cursor, offset high word. */
export const layerCursorHiAt = (at: number): number => at + 16;
export const layerCursorHi = (at: number): number => W[at + 16]!;
export const setLayerCursorHi = (at: number, value: number): void => void (W[at + 16] = value);

/** LAYER_REMOVING: cursor, offset low word. */
export const layerCursorLoAt = (at: number): number => at + 17;
export const layerCursorLo = (at: number): number => W[at + 17]!;
export const setLayerCursorLo = (at: number, value: number): void => void (W[at + 17] = value);

/** LAYER_FSYNC_STRICT or LAYER_FSYNC_RELAXED. Zero: fsync does what the daemon says. */
export const layerFlagsAt = (at: number): number => at + 18;
export const layerFlags = (at: number): number => W[at + 18]!;
export const setLayerFlags = (at: number, value: number): void => void (W[at + 18] = value);

// Block group (catalog, type GROUP, key = group number)

/** Size of the record in words. */
export const GROUP_WORDS = 3;

/** Which of the two copies of the bitmap counts, 0 or 1. */
export const groupLiveAt = (at: number): number => at;
export const groupLive = (at: number): number => W[at]!;
export const setGroupLive = (at: number, value: number): void => void (W[at] = value);

/** Free blocks of the group. */
export const groupFreeAt = (at: number): number => at + 1;
export const groupFree = (at: number): number => W[at + 1]!;
export const setGroupFree = (at: number, value: number): void => void (W[at + 1] = value);

/** Crc32 of the live copy. */
export const groupChecksumAt = (at: number): number => at + 2;
export const groupChecksum = (at: number): number => W[at + 2]!;
export const setGroupChecksum = (at: number, value: number): void => void (W[at + 2] = value);

// Layer slot: the arena’s working copy of a layer record

/** Size of the record in words. */
export const SLOT_WORDS = 64;

/** Layer index + 1. Zero: the slot is free. */
export const slotLayerAt = (at: number): number => at;
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
export const slotDirtyAt = (at: number): number => at + 3;
export const slotDirty = (at: number): number => W[at + 3]!;
export const setSlotDirty = (at: number, value: number): void => void (W[at + 3] = value);

/** Second-chance bit of slot eviction. */
export const slotUsedAt = (at: number): number => at + 4;
export const slotUsed = (at: number): number => W[at + 4]!;
export const setSlotUsed = (at: number, value: number): void => void (W[at + 4] = value);

/** Next slot of the same hash bucket + 1. Zero: end of the chain. */
export const slotNextAt = (at: number): number => at + 5;
export const slotNext = (at: number): number => W[at + 5]!;
export const setSlotNext = (at: number, value: number): void => void (W[at + 5] = value);

/** Users that hold the layer (drivers); a held layer is not removed. */
export const slotMountsAt = (at: number): number => at + 6;
export const loadSlotMounts = (at: number): number => Atomics.load(I, at + 6);
export const storeSlotMounts = (at: number, value: number): void => void Atomics.store(I, at + 6, value);
export const addSlotMounts = (at: number, value: number): number => Atomics.add(I, at + 6, value);

// Allocation window: a run of blocks set aside for one file, for the small files or for the pages of a layer

/** Size of the record in words. */
export const WINDOW_WORDS = 6;

/** Layer index + 1. Zero: the window is unused. */
export const windowLayerAt = (at: number): number => at;
export const windowLayer = (at: number): number => W[at]!;
export const setWindowLayer = (at: number, value: number): void => void (W[at] = value);

/** Inode, or WINDOW_SHARED or WINDOW_PAGES. */
export const windowInoAt = (at: number): number => at + 1;
export const windowIno = (at: number): number => W[at + 1]!;
export const setWindowIno = (at: number, value: number): void => void (W[at + 1] = value);

/** First block still to be given out. */
export const windowStartAt = (at: number): number => at + 2;
export const windowStart = (at: number): number => W[at + 2]!;
export const setWindowStart = (at: number, value: number): void => void (W[at + 2] = value);

/** Blocks still to be given out. */
export const windowLengthAt = (at: number): number => at + 3;
export const windowLength = (at: number): number => W[at + 3]!;
export const setWindowLength = (at: number, value: number): void => void (W[at + 3] = value);

/** When the window was last used, for eviction. */
export const windowTickAt = (at: number): number => at + 4;
export const windowTick = (at: number): number => W[at + 4]!;
export const setWindowTick = (at: number, value: number): void => void (W[at + 4] = value);

/** Times the window was refilled, which lets it grow. */
export const windowGrantsAt = (at: number): number => at + 5;
export const windowGrants = (at: number): number => W[at + 5]!;
export const setWindowGrants = (at: number, value: number): void => void (W[at + 5] = value);

// Header of the memory of the intent log, which outlives the process (log-memory.ts); positions count words

/** Size of the record in words. */
export const LOG_WORDS = 32;

/** LOG_MAGIC. Zero: memory that no volume has used yet. */
export const logMagicAt = (at: number): number => at;
export const logMagic = (at: number): number => W[at]!;
export const setLogMagic = (at: number, value: number): void => void (W[at] = value);

/** LOG_VERSION of the software that uses it. */
export const logVersionAt = (at: number): number => at + 1;
export const logVersion = (at: number): number => W[at + 1]!;
export const setLogVersion = (at: number, value: number): void => void (W[at + 1] = value);

/** Size of the ring, a power of two. */
export const logRingWordsAt = (at: number): number => at + 2;
export const logRingWords = (at: number): number => W[at + 2]!;
export const setLogRingWords = (at: number, value: number): void => void (W[at + 2] = value);

/** Position behind the last entry; what lies behind it means nothing. */
export const logHeadAt = (at: number): number => at + 3;
export const loadLogHead = (at: number): number => Atomics.load(I, at + 3);
export const storeLogHead = (at: number, value: number): void => void Atomics.store(I, at + 3, value);
export const addLogHead = (at: number, value: number): number => Atomics.add(I, at + 3, value);

/** Position of the first entry that no checkpoint holds yet. */
export const logTailAt = (at: number): number => at + 4;
export const loadLogTail = (at: number): number => Atomics.load(I, at + 4);
export const storeLogTail = (at: number, value: number): void => void Atomics.store(I, at + 4, value);
export const addLogTail = (at: number, value: number): number => Atomics.add(I, at + 4, value);

/** Generation that is or was open last. */
export const logGenerationAt = (at: number): number => at + 5;
export const logGeneration = (at: number): number => W[at + 5]!;
export const setLogGeneration = (at: number, value: number): void => void (W[at + 5] = value);

/** Volume id, first word. */
export const logUuid0At = (at: number): number => at + 6;
export const logUuid0 = (at: number): number => W[at + 6]!;
export const setLogUuid0 = (at: number, value: number): void => void (W[at + 6] = value);

/** Volume id. */
export const logUuid1At = (at: number): number => at + 7;
export const logUuid1 = (at: number): number => W[at + 7]!;
export const setLogUuid1 = (at: number, value: number): void => void (W[at + 7] = value);

/** Volume id. */
export const logUuid2At = (at: number): number => at + 8;
export const logUuid2 = (at: number): number => W[at + 8]!;
export const setLogUuid2 = (at: number, value: number): void => void (W[at + 8] = value);

/** Volume id, last word. */
export const logUuid3At = (at: number): number => at + 9;
export const logUuid3 = (at: number): number => W[at + 9]!;
export const setLogUuid3 = (at: number, value: number): void => void (W[at + 9] = value);

/** Number of origins that the last takeover found applied. */
export const logAppliedAt = (at: number): number => at + 10;
export const logApplied = (at: number): number => W[at + 10]!;
export const setLogApplied = (at: number, value: number): void => void (W[at + 10] = value);

/** Which of the two sets of fields that follow counts, 0 or 1. */
export const logSideAt = (at: number): number => at + 11;
export const loadLogSide = (at: number): number => Atomics.load(I, at + 11);
export const storeLogSide = (at: number, value: number): void => void Atomics.store(I, at + 11, value);
export const addLogSide = (at: number, value: number): number => Atomics.add(I, at + 11, value);

/** Position up to which the entries are on the device. */
export const logFlushedAAt = (at: number): number => at + 12;
export const logFlushedA = (at: number): number => W[at + 12]!;
export const setLogFlushedA = (at: number, value: number): void => void (W[at + 12] = value);

/** Position on the device where the next batch goes, counted in blocks. */
export const logBlockAAt = (at: number): number => at + 13;
export const logBlockA = (at: number): number => W[at + 13]!;
export const setLogBlockA = (at: number, value: number): void => void (W[at + 13] = value);

/** Number of the next batch. */
export const logSequenceAAt = (at: number): number => at + 14;
export const logSequenceA = (at: number): number => W[at + 14]!;
export const setLogSequenceA = (at: number, value: number): void => void (W[at + 14] = value);

/** The same again. */
export const logFlushedBAt = (at: number): number => at + 15;
export const logFlushedB = (at: number): number => W[at + 15]!;
export const setLogFlushedB = (at: number, value: number): void => void (W[at + 15] = value);

/** The same again. */
export const logBlockBAt = (at: number): number => at + 16;
export const logBlockB = (at: number): number => W[at + 16]!;
export const setLogBlockB = (at: number, value: number): void => void (W[at + 16] = value);

/** The same again. */
export const logSequenceBAt = (at: number): number => at + 17;
export const logSequenceB = (at: number): number => W[at + 17]!;
export const setLogSequenceB = (at: number, value: number): void => void (W[at + 17] = value);

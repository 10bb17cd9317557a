/**
 * Every binary record of LCFS, declared once. `npm run generate` writes `records.ts` (accessors) and the field tables of
 * docs/FORMAT.md from these declarations; the test command compares both with what is checked in.
 *
 * A field is one 32-bit little-endian word. 64-bit quantities are two fields, `…Lo` and `…Hi`. `zero` says what 0 means
 * where that is not obvious. Words of a record that no field names are reserved and zero.
 */

export interface Field {
  readonly name: string;
  /** Index of the word within the record. */
  readonly word: number;
  /** `atomic` fields have only load, store, add and compareExchange accessors. */
  readonly type: 'u32' | 'i32' | 'atomic';
  readonly comment: string;
  readonly zero?: string;
}

export interface RecordTable {
  /** Prefix of the generated accessors: `inode` gives `inodeMode(at)`. */
  readonly name: string;
  readonly title: string;
  readonly where: 'disk' | 'arena';
  /** Size of the record in words. */
  readonly words: number;
  readonly fields: readonly Field[];
}

/** Lays fields out one after another: ['mode', 'u32', 'comment', 'meaning of zero']. A null name leaves a word reserved. */
function sequence(...rows: [string | null, Field['type'], string, string?][]): Field[] {
  const fields: Field[] = [];
  rows.forEach(([name, type, comment, zero], word) => {
    if (name !== null) fields.push(zero === undefined ? { name, word, type, comment } : { name, word, type, comment, zero });
  });
  return fields;
}

export const TABLES: readonly RecordTable[] = [
  {
    name: 'superblock',
    title: 'Superblock (blocks 0 and 1; the one with the higher valid generation counts)',
    where: 'disk',
    words: 32,
    fields: sequence(
      ['magic', 'u32', 'SUPERBLOCK_MAGIC'],
      ['checksum', 'u32', 'crc32 of the 4096 bytes of the block from word 2 on'],
      ['version', 'u32', 'FORMAT_VERSION of the software that formatted the volume'],
      ['generation', 'u32', 'generation of the checkpoint that this superblock completes', 'never written'],
      ['blocks', 'u32', 'size of the volume in blocks'],
      ['catalogBlock', 'u32', 'root page of the catalog'],
      ['catalogGeneration', 'u32', 'generation that wrote the root page of the catalog'],
      ['nextLayer', 'u32', 'layer index that the next new layer gets'],
      ['hashKey0', 'u32', 'key of the name hash, first word'],
      ['hashKey1', 'u32', 'key of the name hash, second word'],
      ['uuid0', 'u32', 'volume id, first word'],
      ['uuid1', 'u32', 'volume id'],
      ['uuid2', 'u32', 'volume id'],
      ['uuid3', 'u32', 'volume id, last word'],
      ['createdLo', 'u32', 'time of formatting, seconds since 1970, low word'],
      ['createdHi', 'u32', 'time of formatting, high word'],
      ['checkpointLo', 'u32', 'time of this checkpoint, seconds since 1970, low word'],
      ['checkpointHi', 'u32', 'time of this checkpoint, high word'],
      ['freeBlocks', 'u32', 'free blocks at this checkpoint'],
      ['layers', 'u32', 'layers at this checkpoint, the global one included'],
      ['cleanlyClosed', 'u32', '1 when the volume was closed with nothing left to do', 'in use, or left by a crash'],
      ['logBlocks', 'u32', 'size of the intent log, which begins at block 4, in blocks: a power of two'],
      ['logPosition', 'u32', 'position of the first batch of the log that belongs to this checkpoint, counted in blocks'],
      ['logSequence', 'u32', 'number of that batch'],
      ['logGeneration', 'u32', 'entries and batches of higher generations are not in this checkpoint'],
    ),
  },
  {
    name: 'batch',
    title: 'Header of a batch of the intent log; entries follow, in whole blocks',
    where: 'disk',
    words: 16,
    fields: sequence(
      ['magic', 'u32', 'BATCH_MAGIC'],
      ['checksum', 'u32', 'crc32 of header and entries from word 2 of the header on'],
      ['words', 'u32', 'length of the entries in words'],
      ['sequence', 'u32', 'number of the batch: one more than that of the batch before'],
      ['generation', 'u32', 'generation that was open when the batch was written'],
      ['uuid0', 'u32', 'volume id, first word'],
      ['uuid1', 'u32', 'volume id'],
      ['uuid2', 'u32', 'volume id'],
      ['uuid3', 'u32', 'volume id, last word'],
      ['logGeneration', 'u32', 'logGeneration of the last complete checkpoint when the batch was written (0: not said)'],
    ),
  },
  {
    name: 'page',
    title: 'Header of a tree page (a 4 KiB block of a layer tree or of the catalog)',
    where: 'disk',
    words: 8,
    fields: sequence(
      ['magic', 'u32', 'PAGE_MAGIC'],
      ['checksum', 'u32', 'crc32 of the block from word 2 on'],
      ['block', 'u32', 'number of the block that holds this page'],
      ['owner', 'u32', 'layer index of the layer that wrote the page, or CATALOG_OWNER'],
      ['generation', 'u32', 'generation in which the page was allocated'],
      ['levelCount', 'u32', 'number of records in the low half, level in the high half (0: leaf)'],
      ['heap', 'u32', 'word index of the lowest record; records lie between it and the end of the page'],
      ['garbage', 'u32', 'words of removed records between `heap` and the end of the page'],
    ),
  },
  {
    name: 'record',
    title: 'Header of a record in a tree page; the value follows',
    where: 'disk',
    words: 4,
    fields: sequence(
      ['key0', 'u32', 'inode number (layer trees) or layer index, group, … (catalog)'],
      ['typeBytes', 'u32', 'record type in the high half, length of the value in bytes in the low half'],
      ['hi', 'u32', 'offset, high word'],
      ['lo', 'u32', 'offset, low word'],
    ),
  },
  {
    name: 'child',
    title: 'Value of a record in an inner page: the page below, whose keys are not lower than the record’s',
    where: 'disk',
    words: 3,
    fields: sequence(
      ['block', 'u32', 'block of the page below'],
      ['owner', 'u32', 'owner of the page below, equal to its header'],
      ['generation', 'u32', 'generation of the page below, equal to its header'],
    ),
  },
  {
    name: 'inode',
    title: 'Inode (type INODE, offset 0)',
    where: 'disk',
    words: 24,
    fields: sequence(
      ['mode', 'u32', 'file type and permissions as in stat(2)'],
      ['uid', 'u32', 'owner'],
      ['gid', 'u32', 'group'],
      ['links', 'u32', 'number of names; directories: 2 + subdirectories', 'an orphan, unlinked but still open'],
      ['sizeLo', 'u32', 'size in bytes, low word; directories: number of entries × 32'],
      ['sizeHi', 'u32', 'size in bytes, high word'],
      ['blocks', 'u32', 'data blocks that are stored for the file, inherited ones included'],
      ['rdev', 'u32', 'device number in the form of new_encode_dev, for device nodes'],
      ['atimeLo', 'u32', 'access time, seconds, low word'],
      ['atimeHi', 'i32', 'access time, seconds, high word'],
      ['atimeNsec', 'u32', 'access time, nanoseconds'],
      ['mtimeLo', 'u32', 'modification time, seconds, low word'],
      ['mtimeHi', 'i32', 'modification time, seconds, high word'],
      ['mtimeNsec', 'u32', 'modification time, nanoseconds'],
      ['ctimeLo', 'u32', 'change time, seconds, low word'],
      ['ctimeHi', 'i32', 'change time, seconds, high word'],
      ['ctimeNsec', 'u32', 'change time, nanoseconds'],
      ['btimeLo', 'u32', 'birth time, seconds, low word'],
      ['btimeHi', 'i32', 'birth time, seconds, high word'],
      ['btimeNsec', 'u32', 'birth time, nanoseconds'],
      ['flags', 'u32', 'INODE_HAS_XATTR, INODE_HAS_ACL, INODE_HAS_DEFAULT_ACL'],
      ['entries', 'u32', 'directories: number of entries'],
      [
        'contentLayer',
        'u32',
        'regular files: layer index of the layer that last changed data or size',
        'no regular file, or one of layer 0',
      ],
    ),
  },
  {
    name: 'dirent',
    title: 'Directory entry (type DIRENT, offset = name hash; the name follows, not terminated)',
    where: 'disk',
    words: 2,
    fields: sequence(['ino', 'u32', 'inode of the entry'], ['kind', 'u32', 'file type, mode >> 12']),
  },
  {
    name: 'link',
    title: 'Back reference (type LINK, offset = that of the directory entry): one for each name of an inode',
    where: 'disk',
    words: 1,
    fields: sequence(['parent', 'u32', 'inode of the directory that holds the name']),
  },
  {
    name: 'xattr',
    title:
      'Extended attribute (type XATTR, offset = name hash | collision << 8 | chunk); this is chunk 0, then name and value follow, over as many chunks as they need',
    where: 'disk',
    words: 2,
    fields: sequence(
      ['nameBytes', 'u32', 'length of the name, 1 to 255'],
      ['valueBytes', 'u32', 'length of the value, 0 to XATTR_BYTES_MAX'],
    ),
  },
  {
    name: 'property',
    title:
      'Property of a layer (catalog, type PROPERTY, offset = hash of the key | collision << 8 | chunk); this is chunk 0, then key and value follow, over as many chunks as they need',
    where: 'disk',
    words: 2,
    fields: sequence(
      ['keyBytes', 'u32', 'length of the key, 1 to PROPERTY_KEY_BYTES_MAX'],
      ['valueBytes', 'u32', 'length of the value, 0 to PROPERTY_BYTES_MAX'],
    ),
  },
  {
    name: 'extent',
    title: 'Extent (type EXTENT, offset = first file block; one crc32 for each block follows)',
    where: 'disk',
    words: 4,
    fields: sequence(
      ['block', 'u32', 'first block on the device'],
      ['length', 'u32', 'length in blocks, 1 to EXTENT_BLOCKS_MAX'],
      ['owner', 'u32', 'layer index of the layer that wrote the data'],
      ['generation', 'u32', 'generation in which the blocks were allocated'],
    ),
  },
  {
    name: 'layer',
    title: 'Layer (catalog, type LAYER, key = layer index)',
    where: 'disk',
    words: 32,
    fields: sequence(
      ['state', 'u32', 'LAYER_WRITABLE, LAYER_SEALED or LAYER_REMOVING'],
      ['parent', 'u32', 'layer index of the parent', 'a layer without parent'],
      ['rootBlock', 'u32', 'root page of the layer tree'],
      ['rootOwner', 'u32', 'owner of the root page'],
      ['rootGeneration', 'u32', 'generation of the root page'],
      ['nextIno', 'u32', 'inode number that the next new inode gets'],
      ['ownPages', 'u32', 'tree pages that the layer owns'],
      ['ownBlocks', 'u32', 'data blocks that the layer owns'],
      ['quotaBlocks', 'u32', 'data blocks that the layer may own', 'no limit'],
      ['inodes', 'u32', 'inodes in the layer tree, inherited ones included'],
      ['createdLo', 'u32', 'time of creation, seconds since 1970, low word'],
      ['createdHi', 'u32', 'time of creation, high word'],
      ['children', 'u32', 'number of layers whose parent this is'],
      ['depth', 'u32', 'length of the chain of parents', 'a layer without parent'],
      ['cursorKey0', 'u32', 'LAYER_REMOVING: keys below the cursor are freed already; key word 0'],
      ['cursorType', 'u32', 'LAYER_REMOVING: cursor, type'],
      ['cursorHi', 'u32', 'LAYER_REMOVING: cursor, offset high word'],
      ['cursorLo', 'u32', 'LAYER_REMOVING: cursor, offset low word'],
      ['flags', 'u32', 'LAYER_FSYNC_STRICT or LAYER_FSYNC_RELAXED', 'fsync does what the daemon says'],
    ),
  },
  {
    name: 'group',
    title: 'Block group (catalog, type GROUP, key = group number)',
    where: 'disk',
    words: 3,
    fields: sequence(
      ['live', 'u32', 'which of the two copies of the bitmap counts, 0 or 1'],
      ['free', 'u32', 'free blocks of the group'],
      ['checksum', 'u32', 'crc32 of the live copy'],
    ),
  },
  {
    name: 'slot',
    title: 'Layer slot: the arena’s working copy of a layer record',
    where: 'arena',
    words: 64,
    fields: sequence(
      ['layer', 'u32', 'layer index + 1', 'the slot is free'],
      ['pins', 'atomic', 'operations that use the slot; only an unpinned slot changes its layer'],
      ['lock', 'atomic', 'reader/writer lock of the layer tree (locks.ts)'],
      ['dirty', 'u32', '1 when the record differs from the catalog; written under the layer lock'],
      ['used', 'u32', 'second-chance bit of slot eviction'],
      ['next', 'u32', 'next slot of the same hash bucket + 1', 'end of the chain'],
      ['mounts', 'atomic', 'users that hold the layer (drivers); a held layer is not removed'],
    ),
  },
  {
    name: 'window',
    title: 'Allocation window: a run of blocks set aside for one file, for the small files or for the pages of a layer',
    where: 'arena',
    words: 6,
    fields: sequence(
      ['layer', 'u32', 'layer index + 1', 'the window is unused'],
      ['ino', 'u32', 'inode, or WINDOW_SHARED or WINDOW_PAGES'],
      ['start', 'u32', 'first block still to be given out'],
      ['length', 'u32', 'blocks still to be given out'],
      ['tick', 'u32', 'when the window was last used, for eviction'],
      ['grants', 'u32', 'times the window was refilled, which lets it grow'],
    ),
  },
  {
    name: 'log',
    title: 'Header of the memory of the intent log, which outlives the process (log-memory.ts); positions count words',
    where: 'arena',
    words: 32,
    fields: sequence(
      ['magic', 'u32', 'LOG_MAGIC', 'memory that no volume has used yet'],
      ['version', 'u32', 'LOG_VERSION of the software that uses it'],
      ['ringWords', 'u32', 'size of the ring, a power of two'],
      ['head', 'atomic', 'position behind the last entry; what lies behind it means nothing'],
      ['tail', 'atomic', 'position of the first entry that no checkpoint holds yet'],
      ['generation', 'u32', 'generation that is or was open last'],
      ['uuid0', 'u32', 'volume id, first word'],
      ['uuid1', 'u32', 'volume id'],
      ['uuid2', 'u32', 'volume id'],
      ['uuid3', 'u32', 'volume id, last word'],
      ['applied', 'u32', 'number of origins that the last takeover found applied'],
      ['side', 'atomic', 'which of the two sets of fields that follow counts, 0 or 1'],
      ['flushedA', 'u32', 'position up to which the entries are on the device'],
      ['blockA', 'u32', 'position on the device where the next batch goes, counted in blocks'],
      ['sequenceA', 'u32', 'number of the next batch'],
      ['flushedB', 'u32', 'the same again'],
      ['blockB', 'u32', 'the same again'],
      ['sequenceB', 'u32', 'the same again'],
    ),
  },
];

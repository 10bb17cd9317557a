/**
 * The FUSE wire protocol (linux/fuse.h, major 7): opcodes, flags and where each field lies.
 *
 * Structures are arrays of 32-bit words, so a field is the index of its (low) word; the high word of a 64-bit field is
 * the next one. Sizes are in bytes. Nothing here has logic.
 */

export const FUSE_MAJOR = 7;
/** The highest minor version whose structures this server knows. */
export const FUSE_MINOR = 45;
/** MAX_PAGES, which this server depends on, came with minor 28 (Linux 4.20). */
export const FUSE_MINOR_MIN = 28;

export const LOOKUP = 1;
export const FORGET = 2;
export const GETATTR = 3;
export const SETATTR = 4;
export const READLINK = 5;
export const SYMLINK = 6;
export const MKNOD = 8;
export const MKDIR = 9;
export const UNLINK = 10;
export const RMDIR = 11;
export const RENAME = 12;
export const LINK = 13;
export const OPEN = 14;
export const READ = 15;
export const WRITE = 16;
export const STATFS = 17;
export const RELEASE = 18;
export const FSYNC = 20;
export const SETXATTR = 21;
export const GETXATTR = 22;
export const LISTXATTR = 23;
export const REMOVEXATTR = 24;
export const FLUSH = 25;
export const INIT = 26;
export const OPENDIR = 27;
export const READDIR = 28;
export const RELEASEDIR = 29;
export const FSYNCDIR = 30;
export const GETLK = 31;
export const SETLK = 32;
export const SETLKW = 33;
export const ACCESS = 34;
export const CREATE = 35;
export const INTERRUPT = 36;
export const BMAP = 37;
export const DESTROY = 38;
export const IOCTL = 39;
export const POLL = 40;
export const NOTIFY_REPLY = 41;
export const BATCH_FORGET = 42;
export const FALLOCATE = 43;
export const READDIRPLUS = 44;
export const RENAME2 = 45;
export const LSEEK = 46;
export const COPY_FILE_RANGE = 47;
export const SYNCFS = 50;
export const TMPFILE = 51;
export const STATX = 52;
export const COPY_FILE_RANGE_64 = 53;
/** One more than the highest opcode above: the length of tables indexed by opcode. */
export const OPCODES = 54;

/** Header of a request: len, opcode, unique, nodeid, uid, gid, pid, total_extlen. */
export const IN_HEADER_BYTES = 40;
export const IN_LENGTH = 0;
export const IN_OPCODE = 1;
export const IN_UNIQUE = 2;
export const IN_NODE = 4;
export const IN_UID = 6;
export const IN_GID = 7;
export const IN_PID = 8;
/** Low half of the word: length of the extensions in units of 8 bytes. */
export const IN_EXTENSIONS = 9;

/** Header of a reply: len, error, unique. */
export const OUT_HEADER_BYTES = 16;
export const OUT_LENGTH = 0;
export const OUT_ERROR = 1;
export const OUT_UNIQUE = 2;

/** Room for the largest fixed arguments a request starts with (SETATTR, 88 bytes), as on the ring. */
export const ARGUMENTS_BYTES_MAX = 128;

/** Bytes of the fixed arguments after the header, by opcode; names and data follow them. */
export const ARGUMENTS_BYTES: readonly number[] = argumentsTable();

/** SETXATTR's arguments where SETXATTR_EXT was not negotiated. */
export const SETXATTR_BYTES_OLD = 8;

function argumentsTable(): number[] {
  const table = new Array<number>(OPCODES).fill(0);
  const sizes: [number, number[]][] = [
    [4, []],
    [8, [FORGET, MKDIR, RENAME, LINK, OPEN, OPENDIR, GETXATTR, LISTXATTR, ACCESS, INTERRUPT, BATCH_FORGET, SYNCFS]],
    [16, [GETATTR, MKNOD, FSYNC, FSYNCDIR, SETXATTR, CREATE, TMPFILE, RENAME2, INIT]],
    [24, [RELEASE, RELEASEDIR, FLUSH, LSEEK, STATX, POLL]],
    [32, [FALLOCATE, IOCTL]],
    [40, [READ, WRITE, READDIR, READDIRPLUS, NOTIFY_REPLY]],
    [48, [GETLK, SETLK, SETLKW]],
    [56, [COPY_FILE_RANGE, COPY_FILE_RANGE_64]],
    [88, [SETATTR]],
  ];
  for (const [bytes, opcodes] of sizes) for (const opcode of opcodes) table[opcode] = bytes;
  return table;
}

// Arguments of requests, as word indices from the first argument.

export const FORGET_LOOKUPS = 0;
export const BATCH_FORGET_COUNT = 0;
/** One item of BATCH_FORGET: nodeid, number of lookups. */
export const FORGET_ITEM_BYTES = 16;

export const SETATTR_VALID = 0;
export const SETATTR_SIZE = 4;
export const SETATTR_ATIME = 8;
export const SETATTR_MTIME = 10;
export const SETATTR_CTIME = 12;
export const SETATTR_ATIME_NSEC = 14;
export const SETATTR_MTIME_NSEC = 15;
export const SETATTR_CTIME_NSEC = 16;
export const SETATTR_MODE = 17;
export const SETATTR_UID = 19;
export const SETATTR_GID = 20;

/** Bits of SETATTR_VALID. */
export const VALID_MODE = 1 << 0;
export const VALID_UID = 1 << 1;
export const VALID_GID = 1 << 2;
export const VALID_SIZE = 1 << 3;
export const VALID_ATIME = 1 << 4;
export const VALID_MTIME = 1 << 5;
/** The change is made through an opening: ftruncate(2). */
export const VALID_HANDLE = 1 << 6;
export const VALID_ATIME_NOW = 1 << 7;
export const VALID_MTIME_NOW = 1 << 8;
export const VALID_CTIME = 1 << 10;
export const VALID_KILL_SUIDGID = 1 << 11;

export const MKNOD_MODE = 0;
export const MKNOD_RDEV = 1;
export const MKNOD_UMASK = 2;
export const MKDIR_MODE = 0;
export const MKDIR_UMASK = 1;
/** CREATE and TMPFILE. */
export const CREATE_FLAGS = 0;
export const CREATE_MODE = 1;
export const CREATE_UMASK = 2;

export const RENAME_NEW_DIRECTORY = 0;
export const RENAME2_FLAGS = 2;
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const RENAME_WHITEOUT = 4;
export const LINK_OLD_NODE = 0;

export const OPEN_FLAGS = 0;
export const OPEN_EXTRA = 1;
/** Bit of OPEN_EXTRA: the open truncates, and the caller may not keep set-user-ID bits. */
export const OPEN_KILL_SUIDGID = 1;

/** READ, WRITE, READDIR and READDIRPLUS. */
export const IO_OFFSET = 2;
export const IO_SIZE = 4;
export const WRITE_FLAGS = 5;
export const WRITE_KILL_SUIDGID = 4;
/** Flags of the opening, as in open(2). */
export const WRITE_OPEN_FLAGS = 8;

export const SETXATTR_SIZE = 0;
export const SETXATTR_FLAGS = 1;
export const SETXATTR_EXTRA = 2;
/** Bit of SETXATTR_EXTRA: an access ACL set by somebody outside the group; the set-group-ID bit goes. */
export const SETXATTR_KILL_SGID = 1;
/** GETXATTR and LISTXATTR. */
export const GETXATTR_SIZE = 0;

export const FALLOCATE_OFFSET = 2;
export const FALLOCATE_BYTES = 4;
export const FALLOCATE_MODE = 6;

/** Handle of the opening: LSEEK, RELEASE, and the source of COPY_FILE_RANGE. */
export const HANDLE = 0;
export const LSEEK_OFFSET = 2;
export const LSEEK_WHENCE = 4;

export const COPY_OFFSET = 2;
export const COPY_TO_NODE = 4;
export const COPY_TO_OFFSET = 8;
export const COPY_BYTES = 10;
/** COPY_FILE_RANGE answers with 32 bits: a whole number of blocks below that. */
export const COPY_BYTES_MAX = 0xffff_f000;
export const COPY_FLAGS = 12;

export const FSYNC_FLAGS = 2;

// Replies, as word indices from the first word after the out header.

/** struct fuse_attr. */
export const ATTR_BYTES = 88;
export const ATTR_INO = 0;
export const ATTR_SIZE = 2;
export const ATTR_BLOCKS = 4;
export const ATTR_ATIME = 6;
export const ATTR_MTIME = 8;
export const ATTR_CTIME = 10;
export const ATTR_ATIME_NSEC = 12;
export const ATTR_MTIME_NSEC = 13;
export const ATTR_CTIME_NSEC = 14;
export const ATTR_MODE = 15;
export const ATTR_LINKS = 16;
export const ATTR_UID = 17;
export const ATTR_GID = 18;
export const ATTR_RDEV = 19;
export const ATTR_BLOCK_BYTES = 20;
export const ATTR_FLAGS = 21;

/** struct fuse_entry_out. */
export const ENTRY_BYTES = 128;
export const ENTRY_NODE = 0;
export const ENTRY_GENERATION = 2;
export const ENTRY_VALID = 4;
export const ENTRY_ATTR_VALID = 6;
export const ENTRY_VALID_NSEC = 8;
export const ENTRY_ATTR_VALID_NSEC = 9;
export const ENTRY_ATTR = 10;

/** struct fuse_attr_out. */
export const ATTR_OUT_BYTES = 104;
export const ATTR_OUT_VALID = 0;
export const ATTR_OUT_ATTR = 4;

/** struct fuse_open_out. */
export const OPEN_OUT_BYTES = 16;
export const OPEN_OUT_HANDLE = 0;
export const OPEN_OUT_FLAGS = 2;
export const OPEN_OUT_BACKING = 3;
export const FOPEN_DIRECT_IO = 1 << 0;
export const FOPEN_KEEP_CACHE = 1 << 1;
export const FOPEN_NOFLUSH = 1 << 5;
export const FOPEN_PASSTHROUGH = 1 << 7;

/** struct fuse_statx_out; the statx itself starts at word 8. */
export const STATX_BYTES = 288;
export const STATX_VALID = 0;
export const STATX_IMAGE = 8;
export const STATX_MASK = 8;
export const STATX_BLOCK_BYTES = 9;
export const STATX_LINKS = 12;
export const STATX_UID = 13;
export const STATX_GID = 14;
/** u16 in the low half. */
export const STATX_MODE = 15;
export const STATX_INO = 16;
export const STATX_SIZE = 18;
export const STATX_BLOCKS = 20;
/** Each time: seconds (64 bits), nanoseconds, padding. */
export const STATX_ATIME = 24;
export const STATX_BTIME = 28;
export const STATX_CTIME = 32;
export const STATX_MTIME = 36;
export const STATX_RDEV_MAJOR = 40;
export const STATX_RDEV_MINOR = 41;
/** STATX_BASIC_STATS and STATX_BTIME. */
export const STATX_MASK_ALL = 0xfff;

/** struct fuse_statfs_out. */
export const STATFS_BYTES = 80;
export const STATFS_BLOCKS = 0;
export const STATFS_FREE = 2;
export const STATFS_AVAILABLE = 4;
export const STATFS_FILES = 6;
export const STATFS_FILES_FREE = 8;
export const STATFS_BLOCK_BYTES = 10;
export const STATFS_NAME_BYTES = 11;
export const STATFS_FRAGMENT_BYTES = 12;

/** struct fuse_write_out, fuse_getxattr_out, fuse_lseek_out, fuse_copy_file_range_out: one number. */
export const NUMBER_OUT_BYTES = 8;

/** struct fuse_dirent without the name; records are padded to 8 bytes. */
export const DIRENT_BYTES = 24;
export const DIRENT_INO = 0;
export const DIRENT_NEXT = 2;
export const DIRENT_NAME_BYTES = 4;
export const DIRENT_KIND = 5;

// INIT.

export const INIT_MAJOR = 0;
export const INIT_MINOR = 1;
export const INIT_READAHEAD = 2;
export const INIT_FLAGS = 3;
export const INIT_FLAGS2 = 4;
/** Arguments of INIT before INIT_EXT (minor 36): without flags2. */
export const INIT_BYTES_OLD = 16;

export const INIT_OUT_BYTES = 64;
export const INIT_OUT_MAJOR = 0;
export const INIT_OUT_MINOR = 1;
export const INIT_OUT_READAHEAD = 2;
export const INIT_OUT_FLAGS = 3;
/** max_background in the low half, congestion_threshold in the high half. */
export const INIT_OUT_BACKGROUND = 4;
export const INIT_OUT_WRITE_MAX = 5;
export const INIT_OUT_TIME_GRANULARITY = 6;
/** max_pages in the low half. */
export const INIT_OUT_PAGES = 7;
export const INIT_OUT_FLAGS2 = 8;
export const INIT_OUT_STACK_DEPTH = 9;

/** Bits of INIT_FLAGS. */
export const ASYNC_READ = 1 << 0;
export const ATOMIC_O_TRUNC = 1 << 3;
export const BIG_WRITES = 1 << 5;
export const DONT_MASK = 1 << 6;
export const DO_READDIRPLUS = 1 << 13;
export const READDIRPLUS_AUTO = 1 << 14;
export const ASYNC_DIO = 1 << 15;
export const PARALLEL_DIROPS = 1 << 18;
export const POSIX_ACL = 1 << 20;
export const ABORT_ERROR = 1 << 21;
export const MAX_PAGES = 1 << 22;
export const CACHE_SYMLINKS = 1 << 23;
export const EXPLICIT_INVAL_DATA = 1 << 25;
export const HANDLE_KILLPRIV_V2 = 1 << 28;
export const SETXATTR_EXT = 1 << 29;
export const INIT_EXT = 1 << 30;
/** Bits of INIT_FLAGS2: those of the protocol less 32. */
export const PASSTHROUGH = 1 << 5;
export const OVER_IO_URING = 1 << 9;

// Notifications: an out header with unique 0 and the code in its error field, then the body.

export const NOTIFY_INVAL_INODE = 2;
export const NOTIFY_INVAL_ENTRY = 3;
export const NOTIFY_RESEND = 7;
/** Flag of NOTIFY_INVAL_ENTRY: the name is looked up again before it is used, and goes only if it means something else. */
export const NOTIFY_EXPIRE_ONLY = 1;

// FUSE over io_uring.

/** Header buffer of an entry: in header or out header, fixed arguments, then these. */
export const RING_HEADER_BYTES = 288;
export const RING_ARGUMENTS = 128;
export const RING_COMMIT_ID = 264;
export const RING_PAYLOAD_BYTES = 272;
export const RING_REGISTER = 1;
export const RING_COMMIT_AND_FETCH = 2;

/** ioctl of /dev/fuse: this descriptor becomes another queue of the connection of the one given. */
export const IOCTL_CLONE = 0x8004e500;
/** ioctls of /dev/fuse: give a file a backing id, and take the id back. */
export const IOCTL_BACKING_OPEN = 0x4010e501;
export const IOCTL_BACKING_CLOSE = 0x4004e502;
/** struct fuse_backing_map: a descriptor, and words that are 0. */
export const BACKING_MAP_BYTES = 16;

/** Flags of open(2) as they travel in OPEN and CREATE. */
export const O_ACCMODE = 3;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_APPEND = 0o2000;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;

/** Extended attributes and directory reads: 64 KiB, the kernel's own limit. */
export const XATTR_LIST_BYTES_MAX = 65536;

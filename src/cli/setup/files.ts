/**
 * Files that the set-up changes. What was there is kept beside the file as `NAME.before-lcfs` until it is removed again.
 * Each file is replaced as a whole by a rename, so that nobody ever reads half of one.
 */
import { existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { makeFolders } from '../../linux/folders.js';

export const BACKUP_SUFFIX = '.before-lcfs';

/** What a file shall hold; null: it shall not be there. */
export interface FileChange {
  path: string;
  text: string | null;
}

export class Files {
  readonly #root: string;
  /** `root`: folder that stands for `/`, for an image of a machine that is being prepared. */
  constructor(root: string) {
    this.#root = root;
  }

  read(path: string): string | null {
    const at = this.#at(path);
    return existsSync(at) ? readFileSync(at, 'utf8') : null;
  }

  /** The file as it was before the first change, if it was there. */
  readBackup(path: string): string | null {
    return this.read(path + BACKUP_SUFFIX);
  }

  /** Writes a file, and a backup of what it replaces unless there is one. Returns whether that changed anything. */
  write(path: string, text: string): boolean {
    const before = this.read(path);
    if (before === text) return false;
    makeFolders(dirname(this.#at(path)), 0o755);
    if (before !== null && this.readBackup(path) === null) this.#replace(path + BACKUP_SUFFIX, before, path);
    this.#replace(path, text, path);
    return true;
  }

  /** Puts a file back to `text`, or takes it away, and its backup with it. Returns whether that changed anything. */
  restore(path: string, text: string | null): boolean {
    const before = this.read(path);
    if (text === null) rmSync(this.#at(path), { force: true });
    else if (text !== before) this.#replace(path, text, path);
    rmSync(this.#at(path + BACKUP_SUFFIX), { force: true });
    return text !== before;
  }

  /** The new file has the access rights of `like`, where that is there. */
  #replace(path: string, text: string, like: string): void {
    const mode = existsSync(this.#at(like)) ? statSync(this.#at(like)).mode & 0o777 : 0o644;
    const draft = this.#at(`${path}.new`);
    writeFileSync(draft, text, { mode });
    renameSync(draft, this.#at(path));
  }

  #at(path: string): string {
    return join(this.#root, path);
  }
}

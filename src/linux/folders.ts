/** Folders made with all that lead to them. */
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a folder, and those above it that are missing; `mode` is for all that are made. Throws the error of mkdir(2).
 *
 * Node's own way, `recursive: true`, never returns where a folder is there but takes no others, as below /proc: it goes up
 * on ENOENT, finds that the folder above exists, and begins again.
 */
export function makeFolders(path: string, mode: number): void {
  if (isFolder(path)) return;
  makeFolders(dirname(path), mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    // Somebody else may have been faster.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !isFolder(path)) throw error;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

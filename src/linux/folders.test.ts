import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolders } from './folders.js';

function withFolder(work: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'lcfs-folders-'));
  try {
    work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('folders are made with all that lead to them, and twice is as good as once', () =>
  withFolder((folder) => {
    const path = join(folder, 'a/b/c');
    makeFolders(path, 0o700);
    makeFolders(path, 0o755);
    for (const part of ['a', 'a/b', 'a/b/c']) assert.equal(statSync(join(folder, part)).mode & 0o777, 0o700);
    symlinkSync('a', join(folder, 'link'));
    makeFolders(join(folder, 'link/d'), 0o700);
    assert.ok(statSync(join(folder, 'a/d')).isDirectory());
  }));

test('what cannot be made ends with an error', () =>
  withFolder((folder) => {
    writeFileSync(join(folder, 'file'), '');
    mkdirSync(join(folder, 'folder'));
    symlinkSync('nowhere', join(folder, 'dangling'));
    const cases: [string, RegExp][] = [
      [join(folder, 'file'), /EEXIST/],
      [join(folder, 'file/below'), /ENOTDIR/],
      [join(folder, 'folder', 'n'.repeat(256)), /ENAMETOOLONG/],
      [join(folder, 'dangling'), /EEXIST/],
      ['/proc/lcfs', /ENOENT/],
      ['/proc/lcfs/a/b', /ENOENT/],
    ];
    for (const [path, message] of cases) assert.throws(() => makeFolders(path, 0o700), message, path);
  }));

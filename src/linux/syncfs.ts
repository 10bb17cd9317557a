/** Writing out what the kernel holds back for one file system. */
import { open } from 'node:fs/promises';
import koffi from 'koffi';

const syncfs = koffi.load('libc.so.6').func('syncfs', 'int', ['int']);

/**
 * Lets the kernel write every dirty page of the file system that `path` lies on: with a mount of our own, what programs
 * changed through shared mappings arrives as WRITE requests. Runs beside the calling thread. Nothing is left open after
 * it, so that it does not keep the mount busy. Rejects with the error of opening `path`.
 */
export async function syncFileSystem(path: string): Promise<void> {
  const file = await open(path);
  try {
    await new Promise((resolve) => syncfs.async(file.fd, resolve));
  } finally {
    await file.close();
  }
}

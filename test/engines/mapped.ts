/** What a container writes through a memory mapping, and how that is looked for in an image that was made of it meanwhile. */
import assert from 'node:assert/strict';
import { waitUntil } from '../../scripts/lib/limits.js';
import { TEMPORARY } from './temporary.js';

/** So many pages are not written while a commit begins. */
const PAGES = 4096;

const MAP = `
import mmap, os, time
fd = os.open('/mapped', os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, ${PAGES} * 4096 + 19)
memory = mmap.mmap(fd, 0)
for page in range(${PAGES} + 1):
    memory[page * 4096 : page * 4096 + 19] = b'through the mapping'
print('written', flush=True)
time.sleep(10000)
`;

const COUNT = `
with open('/mapped', 'rb') as file:
    print(sum(page[:19] == b'through the mapping' for page in iter(lambda: file.read(4096), b'')))
`;

/**
 * Commits a container of `image`, which must have Python, while it has a file mapped that it has just written. `docker` runs
 * the command.
 */
export async function commitMapped(
  docker: (...args: string[]) => Promise<string>,
  image: string,
  options: readonly string[],
): Promise<void> {
  await docker('run', '-d', '--name', 'mapped', ...TEMPORARY, ...options, image, 'python3', '-c', MAP);
  await waitUntil('the container writes', async () => (await docker('logs', 'mapped')).includes('written'));
  await docker('commit', 'mapped', 'mapped-image');
  assert.equal((await docker('run', '--rm', ...options, 'mapped-image', 'python3', '-c', COUNT)).trim(), String(PAGES + 1));
}

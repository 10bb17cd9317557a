/** A process that maps a file for writing: `mapping-process.js FILE BYTES`, started by Mapper with an IPC channel. */
import { closeSync, constants, ftruncateSync, openSync } from 'node:fs';
import { mmap } from '../mount/syscalls.js';

const [path, bytes] = process.argv.slice(2);
const fd = openSync(path!, constants.O_RDWR | constants.O_CREAT, 0o644);
ftruncateSync(fd, Number(bytes));
const mapping = mmap(fd, Number(bytes), true);
closeSync(fd); // the mapping keeps the file open

process.on('message', (text: string) => {
  for (let at = 0; at < mapping.bytes.length; at += 4096) mapping.bytes.set(Buffer.from(text), at);
  process.send!('written');
});
process.on('disconnect', () => process.exit());
process.send!('mapped');

/**
 * A process that is going to be killed: takes the volume over, serves requests from number `first` on and says in a file how
 * many it has answered. Descriptor 3 is the memory of the log, 4 that file.
 */
import { writeSync } from 'node:fs';
import { checkpoint } from '../../src/engine/checkpoint.js';
import { findLayer } from '../../src/engine/layers.js';
import { openVolume } from '../../src/engine/volume.js';
import { serve } from './requests.js';

const [path, bytes, first] = process.argv.slice(2);
openVolume(path!, { cacheBytes: 8 << 20, log: { fd: 3, bytes: Number(bytes) }, takeover: true });
const layer = findLayer('test');
const answered = new Uint32Array(1);
for (let number = Number(first); ; number++) {
  serve(layer, number);
  answered[0] = number;
  writeSync(4, answered, 0, 4, 0);
  if (number % 61 === 0) checkpoint();
}

/** Devices that fail while a volume is at work (test/support/device-faults.ts). */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { deviceFaultRounds } from '../support/device-faults.js';
import { withFolder } from '../support/volume.js';
import { noFigures, violation, type Budget, type Figures } from './part.js';

/** Faults with one seed. */
const ROUNDS = 50;

export function device(budget: Budget): Promise<Figures> {
  return withFolder((folder) => {
    const figures = noFigures();
    for (let seed = budget.seed; figures.mutations < budget.most && performance.now() < budget.until; seed++) {
      budget.log(`seed ${seed}`);
      const own = join(folder, String(seed));
      try {
        mkdirSync(own);
        figures.mutations += deviceFaultRounds(own, seed, ROUNDS).rounds;
      } catch (error) {
        throw violation(join(budget.evidence, `device-${seed}`), `seed ${seed}: ${error instanceof Error ? error.stack! : String(error)}`);
      }
    }
    return figures;
  });
}

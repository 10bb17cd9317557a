/**
 * Damage: blocks and bytes of volumes are flipped, zeroed and exchanged with others (test/support/damaged-volume.ts). Nothing
 * wrong may be shown, check must name what is hit, and a repair make the rest whole.
 */
import { join } from 'node:path';
import { damageRounds } from '../support/damaged-volume.js';
import { withFolder } from '../support/volume.js';
import { noFigures, violation, type Budget, type Figures } from './part.js';

/** Damages on one volume. */
const ROUNDS = 20;

export function damage(budget: Budget): Promise<Figures> {
  return withFolder((folder) => {
    const figures = noFigures();
    for (let seed = budget.seed; figures.mutations === 0 || performance.now() < budget.until; seed++) {
      budget.log(`seed ${seed}`);
      try {
        damageRounds(folder, seed, ROUNDS, seed % 2 === 0);
      } catch (error) {
        throw violation(join(budget.evidence, `damage-${seed}`), `seed ${seed}: ${error instanceof Error ? error.stack! : String(error)}`);
      }
      figures.mutations += ROUNDS;
    }
    return figures;
  });
}

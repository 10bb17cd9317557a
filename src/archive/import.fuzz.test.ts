import { test } from 'node:test';
import { fuzzInProcess } from '../../test/support/fuzz.js';

const MODULE = new URL('./import.fuzz.js', import.meta.url).href;

test('archives that no archiver writes are applied or refused, and the volume stays sound', { timeout: 120_000 }, async () => {
  await fuzzInProcess(MODULE, 'fuzzImport');
});

test('recipes that no import writes give an archive or a refusal', { timeout: 120_000 }, async () => {
  await fuzzInProcess(MODULE, 'fuzzRecipe');
});

/** `npm run bench -- --report FILE…`: docs/benchmarks.md and docs/charts from the results of runs. */
export async function writeReport(files: readonly string[]): Promise<void> {
  if (files.length === 0) throw new Error('--report needs the files with the results');
}

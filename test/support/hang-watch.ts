/**
 * A process beside a test that may hang in a mount so that it cannot even look at a clock (hangs.ts): `hang-watch.js MARK PID`. It
 * reads lines, `limit SECONDS TEST` when a test begins and `over` when it has ended, and does something about one that does not end:
 *
 *   at its limit               says what there is to see, ends the FUSE connections and their daemons, so that the test fails and goes on
 *   GRACE_MS later             says it once more and kills all processes of the test, then the test's own (PID)
 */
import { createInterface } from 'node:readline';
import { abortConnections, kill, markedProcesses, reportHang, withChildren } from './hang-report.js';

const GRACE_MS = 60_000;

const [mark, tester] = process.argv.slice(2) as [string, string];
let timer: NodeJS.Timeout | undefined;

function report(test: string, what: string): number[] {
  const pids = withChildren([Number(tester), ...markedProcesses(mark)]);
  process.stderr.write(`\n${test}: ${what}\n${reportHang(pids)}\n\n`);
  return pids;
}

function unblock(test: string, limit: number): void {
  abortConnections(report(test, `not over within ${limit} s; its FUSE connections are ended now`));
  timer = setTimeout(() => killAll(test), GRACE_MS);
}

function killAll(test: string): void {
  const pids = report(test, 'still not over; its processes are killed now');
  for (const pid of pids.filter((each) => each !== Number(tester))) kill(pid);
  kill(Number(tester));
}

createInterface({ input: process.stdin }).on('line', (line) => {
  clearTimeout(timer);
  const [, limit, test] = /^limit (\d+) (.*)$/.exec(line) ?? [];
  if (limit !== undefined) timer = setTimeout(() => unblock(test!, Number(limit)), Number(limit) * 1000);
});
// The tests are over, or their process has died.
process.stdin.on('end', () => process.exit());

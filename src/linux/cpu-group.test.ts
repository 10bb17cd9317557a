import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';

const MODULE = new URL('./cpu-group.js', import.meta.url).href;

/** What a thread may find of itself: policy, nice value, that of its session. */
interface Found {
  readonly done: boolean;
  readonly policy: number;
  readonly nice: number;
  readonly group: number;
}

/** Fields 41 and 19 of proc(5)'s stat, and the nice value of the group. */
const PROGRAM = `
import { readFileSync } from 'node:fs';
import * as group from ${JSON.stringify(MODULE)};
const done = group[process.argv[1]]();
const stat = readFileSync('/proc/thread-self/stat', 'latin1').replace(/.*\\) /, '').split(' ');
const nice = /nice (\\S+)/.exec(readFileSync('/proc/self/autogroup', 'latin1'))[1];
console.log(JSON.stringify({ done, policy: Number(stat[38]), nice: Number(stat[16]), group: Number(nice) }));
`;

/** What is found after a call in a new process, with a session of its own or in ours. */
function found(call: 'levelGroup' | 'giveWay', ownSession: boolean): Found {
  const command = [process.execPath, '--input-type=module', '-e', PROGRAM, call];
  // The shell is a program of another kind in the session.
  const args = ownSession ? ['setsid', '-w', ...command] : ['setsid', '-w', 'sh', '-c', '"$@"; exit $?', 'sh', ...command];
  const { stdout, stderr } = spawnSync(args[0]!, args.slice(1), { encoding: 'utf8' });
  assert.ok(stdout !== '', stderr);
  return JSON.parse(stdout) as Found;
}

/** Sessions are groups only outside of cgroups with the CPU controller. */
function whyNot(): string | false {
  if (process.getuid!() !== 0) return 'this needs root';
  try {
    if (readFileSync('/proc/sys/kernel/sched_autogroup_enabled', 'latin1').trim() !== '1') return 'sessions are no groups here';
  } catch {
    return 'the kernel has no groups of sessions';
  }
  return /^\d+:([^:]*,)?cpu(,[^:]*)?:\/$/m.test(readFileSync('/proc/self/cgroup', 'latin1')) ? false : 'this needs the root cgroup';
}

const SCHED_OTHER = 0;
const SCHED_IDLE = 5;

describe('the group of tasks that a process is in', { skip: whyNot() }, () => {
  it('is levelled if it has no other program', () => {
    assert.deepEqual(found('levelGroup', true), { done: true, policy: SCHED_OTHER, nice: 19, group: -5 });
  });

  it('lets a thread give way if it has no other program', () => {
    assert.deepEqual(found('giveWay', true), { done: true, policy: SCHED_IDLE, nice: 0, group: 0 });
  });

  it('stays as it is if another program has its time from it', () => {
    assert.deepEqual(found('levelGroup', false), { done: false, policy: SCHED_OTHER, nice: 0, group: 0 });
    assert.deepEqual(found('giveWay', false), { done: false, policy: SCHED_OTHER, nice: 0, group: 0 });
  });
});

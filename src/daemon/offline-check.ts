/** Checking and repairing a volume that no daemon serves, in this process. */
import { LcfsError } from '../engine/errors.js';
import { checkVolume, type CheckResult } from '../engine/check.js';
import { repairVolume } from '../engine/repair.js';
import { abandonVolume, closeVolume, holdsVolume, openVolume, openedLog, type OpenOptions } from '../engine/volume.js';
import type { CheckReport, LogReport, RepairReport } from './protocol.js';

export type ShowProgress = (layer: number, done: number) => void;

/**
 * Checks a volume without changing it, and tells what a repair would do if anything is wrong. Throws LcfsError: `busy` if a
 * daemon serves it, `corrupt` if there is no volume any more.
 */
export function checkDevice(device: string, data: boolean, progress: ShowProgress): CheckReport {
  const report = examine(device, data, progress);
  return !isRepairable(report) ? report : { ...report, repair: repair(device, data, false) };
}

/** Repairs a volume if anything is wrong with it, and checks what came of it. Throws LcfsError as `checkDevice`, and `full`. */
export function repairDevice(device: string, data: boolean, progress: ShowProgress): CheckReport {
  const before = examine(device, data, progress);
  if (!isRepairable(before)) return before;
  const repaired = repair(device, data, true);
  return { ...examine(device, data, progress), repair: repaired };
}

function isRepairable(report: CheckReport): boolean {
  return report.errorCount > report.dataErrors;
}

function examine(device: string, data: boolean, progress: ShowProgress): CheckReport {
  try {
    open(device, { readOnly: true });
  } catch (error) {
    if (!(error instanceof LcfsError) || error.code !== 'corrupt' || !holdsVolume(device)) throw error;
    return unopenable(error.message);
  }
  try {
    return withLog(describeCheck(checkVolume({ data, progress })));
  } finally {
    abandonVolume();
  }
}

/** What was checked is the volume with its log applied. A log of which a part was damaged is something wrong with it. */
function withLog(report: CheckReport): CheckReport {
  const { entries, lost, reasons, found } = openedLog();
  const log = logReport(entries, [
    ...(found.leftOut === '' ? [] : [`what follows in the log: ${found.leftOut}`]),
    ...(lost === 0 ? [] : [`${lost} records: ${reasons.join(', ')}`]),
  ]);
  if (!found.isDamaged) return { ...report, log };
  return { ...report, log, errors: [...report.errors, `the intent log is damaged: ${found.leftOut}`], errorCount: report.errorCount + 1 };
}

function logReport(operations: number, leftOut: string[]): LogReport | null {
  return operations === 0 && leftOut.length === 0 ? null : { operations, leftOut };
}

function open(device: string, options: OpenOptions): void {
  try {
    openVolume(device, options);
  } catch (error) {
    if (!(error instanceof LcfsError) || error.code !== 'busy') throw error;
    throw new LcfsError('busy', `${error.message}, or let its daemon check it with lcfs check --online ${device}`);
  }
}

/** A volume that only a repair can look into. */
function unopenable(message: string): CheckReport {
  const counts = { layers: 0, inodes: 0, pages: 0, dataBlocks: 0, removingBlocks: 0, lostBlocks: 0 };
  return { errors: [message], errorCount: 1, dataErrors: 0, damage: [], counts, log: null, repair: null };
}

function repair(device: string, data: boolean, inEarnest: boolean): RepairReport {
  open(device, { readOnly: !inEarnest, forRepair: true });
  let isWhole = false;
  try {
    const { damage, notes, log } = repairVolume(data);
    isWhole = inEarnest;
    return { done: inEarnest, damage, notes, log: logReport(log.operations, log.leftOut) };
  } finally {
    if (isWhole) closeVolume();
    else abandonVolume();
  }
}

export function describeCheck(result: CheckResult): CheckReport {
  const { errors, errorCount, dataErrors, damage, ...counts } = result;
  return { errors, errorCount, dataErrors, damage, counts, log: null, repair: null };
}

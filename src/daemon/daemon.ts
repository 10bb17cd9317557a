/**
 * The serving process of a daemon: opens a volume, mounts it and serves it until it is stopped. Its supervisor
 * (supervisor.ts) has made what must outlive it, and starts another one should it die.
 *
 * Threads, all attached to the same arena: the main one (control server; does nothing that takes long), the FUSE threads
 * (fuse/session.ts), one for maintenance, one for scrubbing, one for each driver that is served (containerd, Docker), and one for tasks
 * (tasks.ts).
 *
 * Start: volume, mount, maintenance, drivers, control server. Each step that fails takes back the ones before it.
 * Stop:  unmount – refused while the mount is in use – then drivers, tasks, maintenance, volume, control socket. The mount
 *        goes first because it alone can refuse; nobody can reach the volume afterwards.
 *
 * The daemon also ends, in the same order, when the mount is taken away from outside (umount).
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Server } from 'node:http';
import type { Worker } from 'node:worker_threads';
import { BLOCK_BYTES } from '../layout/constants.js';
import { I } from '../layout/memory.js';
import { FSYNC_STRICT } from '../engine/arena.js';
import { checkpoint } from '../engine/checkpoint.js';
import { LcfsError } from '../engine/errors.js';
import { stopMaintenance } from '../engine/maintenance.js';
import { limitFrames } from '../engine/pager.js';
import { endScrub, setScrubRate } from '../engine/scrub.js';
import { CRASH_LOOP, stopChanges, takesChanges } from '../engine/read-only.js';
import { removeUnfinished } from '../engine/unfinished.js';
import { abandonVolume, closeVolume, type VolumeHandle } from '../engine/volume.js';
import { lockServing } from '../engine/volume-device.js';
import { MappedWrites } from '../fuse/mapped-writes.js';
import { serveFuse, type FuseSession } from '../fuse/session.js';
import { duplicate } from '../linux/descriptors.js';
import { close, exitNow } from '../linux/libc.js';
import { unmountByForce } from '../linux/mount.js';
import { serveSocket } from '../drivers/socket.js';
import { describeUsers } from './busy.js';
import { makeControlServer } from './control.js';
import { startContainerd, startDocker, type DriverThread } from './drivers.js';
import { collectGarbage } from './gc.js';
import { EXIT_HANDED_OVER, refuseVersion, type Handover, type Listeners } from './handover.js';
import { openLog, type Logger } from './log.js';
import type { Line } from './line.js';
import { removeSocketFiles } from './listeners.js';
import { openOrFormat } from './opening.js';
import type { EngineName } from './protocol.js';
import { makeRoutes, type NewProgram } from './routes.js';
import type { Settings } from './settings.js';
import { describeStatus } from './status.js';
import { TaskThread } from './tasks.js';
import { endOnUncaught, endWithBug, joinThread, startThread } from './threads.js';

/** Those who only look (updatedb, a shell completing a name) are gone by then. */
const BUSY_PATIENCE_MS = 3000;
const BUSY_RETRY_MS = 200;
/** What programs wrote through mappings gets so long to come in before a mount is ended by force. */
const FORCE_PATIENCE_MS = 3000;
const SWEEP_MS = 60_000;
const LOCK_RETRY_MS = 1000;
/** The answer to `lcfs stop` is out long before. */
const EXIT_PATIENCE_MS = 1000;
/** What calls of engines that are under way get to end in when the daemon is stopped. */
const GRACE_MS = 5000;
/** The same if another process goes on serving the engines: nothing is cut off unless it takes very long. */
const HANDOVER_GRACE_MS = 60_000;

/** The threads cannot serve over io_uring. */
export class RingRefused extends LcfsError {}

/** All that runs between start and stop, and the order of both. */
export class Daemon {
  readonly #handover: Handover;
  readonly #settings: Settings;
  readonly #listeners: Listeners;
  readonly #line: Line;
  readonly #log: Logger;
  readonly #spares: readonly Worker[];
  readonly #started = new Date();
  /** Settles with the exit code when the process may end. */
  readonly ended: Promise<number>;
  #end!: (exitCode: number) => void;
  #session!: FuseSession;
  #maintenance: Worker | undefined;
  #scrub: Worker | undefined;
  readonly #drivers: { [Engine in EngineName]?: DriverThread } = {};
  #device = -1;
  #exitCode = 0;
  #tasks!: TaskThread;
  #control!: Server;
  #sweeper!: NodeJS.Timeout;
  #stopping: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #handsOver = false;

  private constructor(handover: Handover, line: Line, log: Logger, spares: readonly Worker[]) {
    this.#handover = handover;
    this.#settings = handover.settings;
    this.#listeners = handover.listeners;
    this.#line = line;
    this.#log = log;
    this.#spares = spares;
    this.ended = new Promise((settle) => (this.#end = settle));
  }

  get mountpoint(): string {
    return this.#settings.mountpoint;
  }

  /** `spares`: threads that were begun before, for the mount. */
  static async start(handover: Handover, line: Line, spares: readonly Worker[]): Promise<Daemon> {
    const { settings } = handover;
    const log = openLog(settings.logShape, 'main');
    const daemon = new Daemon(handover, line, log, spares);
    const handle = openOrFormat(handover, log);
    endOnUncaught(log);
    try {
      await daemon.#serve(handle);
    } catch (error) {
      // What another process began is left for a next one to carry on.
      if (!handover.takeover) await daemon.#takeBack();
      throw error;
    }
    return daemon;
  }

  /** Everything after the volume is open. */
  async #serve(handle: VolumeHandle): Promise<void> {
    const { mountpoint, device } = this.#settings;
    I[FSYNC_STRICT] = this.#settings.fsync === 'strict' ? 1 : 0;
    limitFrames(Math.floor(this.#settings.cacheBytes / BLOCK_BYTES));
    if (this.#handover.readOnly !== null) this.#stopChanges(this.#handover.readOnly);
    if (this.#handover.takeover) this.#removeUnfinished();
    if (this.#handover.beside !== null) lockWhenGone(handle);
    const fuseLog = this.#log.child({ thread: 'fuse' });
    this.#session = await this.#serveFuse(handle, (line) => fuseLog.info(line));
    // After the mount, for which somebody may be waiting.
    this.#maintenance = startThread(new URL('./maintenance-worker.js', import.meta.url), 'maintenance', { handle }, this.#log);
    // What goes wrong on the way is logged, and shown by the exit code.
    void this.#session.ended.then(() => this.#close()).catch(() => {});
    setScrubRate(this.#settings.scrubRate);
    this.#scrub = startThread(new URL('./scrub-worker.js', import.meta.url), 'scrub', { handle }, this.#log);
    this.#startTasks(handle);
    await this.#startDrivers(handle);
    await this.#startControl();
    this.#log.info(
      { transport: this.#session.transport, passthrough: this.#session.passthrough, fsync: this.#settings.fsync },
      `volume ${device} is mounted on ${mountpoint}`,
    );
  }

  /** From now on nothing is changed, and what was acknowledged before is durable. */
  #stopChanges(reason: string): void {
    checkpoint();
    stopChanges(CRASH_LOOP, reason);
  }

  async #serveFuse(handle: VolumeHandle, log: (line: string) => void): Promise<FuseSession> {
    const { serving, takeover } = this.#handover;
    try {
      return await serveFuse(handle, serving, { takeover, log, spares: this.#spares });
    } catch (error) {
      const isRefused = error instanceof LcfsError && serving.transport === 'uring';
      throw isRefused ? new RingRefused(error.code, error.message) : error;
    }
  }

  /** What the process before this one was making of an archive when it died. */
  #removeUnfinished(): void {
    const names = takesChanges() ? removeUnfinished() : [];
    if (names.length > 0) this.#log.info(`removed layers whose import was cut off: ${names.join(', ')}`);
  }

  async #startDrivers(handle: VolumeHandle): Promise<void> {
    const { containerd, containerdAddress, docker, mountpoint } = this.#settings;
    const { transport, device, mapped } = this.#session;
    const listeners = this.#listeners;
    const data = { handle, mountpoint, device, mapped };
    if (listeners.containerd !== null) {
      const own = { socket: containerd!, listener: listeners.containerd, address: containerdAddress };
      this.#drivers.containerd = await startContainerd({ ...data, ...own }, this.#log);
      this.#log.info(`containerd is served on ${containerd}`);
    }
    if (listeners.docker !== null) {
      const own = { socket: docker!, listener: listeners.docker, notes: this.#handover.notes, transport };
      this.#drivers.docker = await startDocker({ ...data, ...own }, this.#log);
      this.#log.info(`the Docker graph driver is served on ${docker}`);
    }
  }

  #startTasks(handle: VolumeHandle): void {
    // Of our own: the mount may go, and close its descriptor, while a task is under way.
    this.#device = duplicate(this.#session.device);
    const data = { handle, device: this.#device, mapped: this.#session.mapped };
    const start = (): Worker => startThread(new URL('./task-worker.js', import.meta.url), 'task', data, this.#log);
    this.#tasks = new TaskThread(start);
    this.#sweeper = setInterval(() => void this.#tasks.run('sweepStats', {}).catch(() => {}), SWEEP_MS).unref();
  }

  async #startControl(): Promise<void> {
    const routes = makeRoutes({
      status: () => describeStatus(this.#handover, this.#line, this.#session, this.#started),
      stop: (force) => this.stop(force),
      exit: this.#exit,
      refuseHandover: (program) => this.#refuseHandover(program),
      handOver: (program) => void this.#handOver(program),
      tasks: this.#tasks,
      gc: (request) => collectGarbage({ mountpoint: this.mountpoint, tasks: this.#tasks, drivers: this.#drivers }, request),
    });
    this.#control = makeControlServer({
      routes,
      onRefusal: (what, error) => this.#log.debug(`${what}: ${(error as Error).message}`),
      onBug: (error) => endWithBug(this.#log, 'a control request failed', error),
    });
    await serveSocket(this.#control, this.#listeners.control);
  }

  #refuseHandover(program: NewProgram | null): void {
    if (this.#closing !== undefined || this.#stopping !== undefined) throw new LcfsError('state', 'the volume is being closed');
    if (!this.#line.isOpen)
      throw new LcfsError('state', 'the supervisor of this daemon is gone: stop it with lcfs stop and start it again with lcfs daemon');
    if (program !== null) refuseVersion(program.handover);
    else if (this.#handover.readOnly === null) throw new LcfsError('state', `${this.mountpoint} takes changes: there is nothing to resume`);
  }

  /**
   * Makes room for another serving process. Calls of engines are done to their end and new ones wait; requests to the mount
   * need no such care, as the next process answers what this one has in its hands. One that dies on the way does no harm.
   */
  async #handOver(program: NewProgram | null): Promise<void> {
    this.#log.info(program === null ? 'another process takes over' : `LCFS ${program.version} (${program.words.join(' ')}) takes over`);
    this.#handsOver = true;
    this.#closing = new Promise(() => {});
    clearInterval(this.#sweeper);
    this.#control.close();
    this.#line.send({ kind: 'handing-over', program });
    await Promise.all([
      ...Object.values(this.#drivers).map((driver) => driver.stop(HANDOVER_GRACE_MS)),
      this.#tasks.drain(HANDOVER_GRACE_MS),
    ]);
    stopMaintenance();
    if (this.#maintenance !== undefined) await joinThread(this.#maintenance);
    if (takesChanges()) checkpoint();
    exitNow(EXIT_HANDED_OVER);
  }

  /** The supervisor has died. */
  orphaned(): void {
    if (this.#closing !== undefined) return;
    this.#log.warn(
      `the supervisor (pid ${this.#handover.supervisor}) is gone: the volume is served on, but nobody would start the daemon ` +
        `again if it died. Stop it with lcfs stop and start it again with lcfs daemon when that suits`,
    );
  }

  /** Unmounts and closes the volume. Throws LcfsError `busy` naming the users, and goes on serving. */
  async stop(force: boolean): Promise<void> {
    if (this.#handsOver) throw new LcfsError('busy', `another process is about to serve ${this.mountpoint}: try again in a moment`);
    // One that waits for the users to leave must not keep one by force waiting.
    if (force) await this.#unmountByForce();
    else await (this.#stopping ??= this.#unmount().finally(() => (this.#stopping = undefined)));
    await this.#close();
  }

  async stopOnSignal(signal: string): Promise<void> {
    this.#log.info(`${signal}: stopping`);
    try {
      await this.stop(false);
      this.#exit();
    } catch (error) {
      if (!(error instanceof LcfsError)) throw error;
      this.#log.error(error.message);
    }
  }

  async #unmount(): Promise<void> {
    await this.#awaitUnused();
    await this.#session.stop();
  }

  /** Ends the connection: whatever is still open on the mount gives errors from now on. */
  async #unmountByForce(): Promise<void> {
    await this.#bringInPatiently();
    // A mount that only lives on in other mount namespaces can't be reached this way.
    if (unmountByForce(this.mountpoint) < 0) await this.#session.stop({ lazy: true });
    await this.#session.ended;
  }

  /** A mount that is ended because it hangs does not take what was written through mappings any more. */
  async #bringInPatiently(): Promise<void> {
    const brought = new MappedWrites(this.#session.mapped).bringInAll().catch((error: unknown) => {
      if (!(error instanceof LcfsError)) throw error;
      this.#log.warn(error.message);
    });
    await Promise.race([brought, delay(FORCE_PATIENCE_MS)]);
  }

  /** Waits a little for users that are about to leave. */
  async #awaitUnused(): Promise<void> {
    const deadline = Date.now() + BUSY_PATIENCE_MS;
    for (let users = describeUsers(this.mountpoint); users !== ''; users = describeUsers(this.mountpoint)) {
      if (Date.now() > deadline) {
        throw new LcfsError(
          'busy',
          `${this.mountpoint} is in use by ${users}: end them first, or stop it anyway with lcfs stop --force ${this.mountpoint}`,
        );
      }
      await delay(BUSY_RETRY_MS);
    }
  }

  /** After the mount is gone: ends all threads and closes the volume. */
  #close(): Promise<void> {
    this.#closing ??= this.#closeOnce();
    return this.#closing;
  }

  async #closeOnce(): Promise<void> {
    clearInterval(this.#sweeper);
    // Nobody shall connect any more to what nobody will serve.
    this.#removeSockets((service) => service !== 'control');
    await Promise.all([...Object.values(this.#drivers).map((driver) => driver.stop(GRACE_MS)), this.#tasks?.close()]);
    if (this.#device >= 0) close(this.#device);
    try {
      await this.#endVolume();
    } finally {
      this.#closeControl();
      // Without a stop request that waits for its answer, nothing else ends the process.
      setTimeout(this.#exit, EXIT_PATIENCE_MS);
    }
  }

  /** Throws LcfsError if the device fails; the volume is then as of its last checkpoint. */
  async #endVolume(): Promise<void> {
    stopMaintenance();
    endScrub();
    if (this.#scrub !== undefined) await joinThread(this.#scrub);
    if (this.#maintenance !== undefined) await joinThread(this.#maintenance);
    try {
      // One that is read-only on our own account is durable already.
      if (this.#handover.readOnly === null) closeVolume();
      else abandonVolume();
      this.#log.info(`volume ${this.#settings.device} is closed`);
    } catch (error) {
      this.#log.error((error as Error).message);
      this.#exitCode = 1;
      throw error;
    }
  }

  readonly #exit = (): void => this.#end(this.#exitCode);

  #closeControl(): void {
    this.#removeSockets((service) => service === 'control');
    this.#control?.close();
  }

  #removeSockets(which: (service: string) => boolean): void {
    removeSocketFiles(this.#listeners.files.filter(({ service }) => which(service)));
  }

  /** Undoes a start that failed half-way. */
  async #takeBack(): Promise<void> {
    if (this.#session === undefined) await this.#endVolume();
    else await this.#unmountByForce().then(() => this.#close());
  }
}

/** The process before this one has ended, but keeps its lock until its last thread has got the answer that it waits for. */
function lockWhenGone({ fd }: VolumeHandle): void {
  const timer = setInterval(() => lockServing(fd) && clearInterval(timer), LOCK_RETRY_MS).unref();
}

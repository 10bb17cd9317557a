/**
 * What has to be taken back when the benchmark ends, in whatever way: each step that mounts, starts or makes something
 * registers its reverse here at once. Undone is in reverse order, each step on its own: one that fails is told and does not
 * keep the others from running.
 */
type Step = () => Promise<unknown> | void;

export class Undo {
  #steps: { what: string; step: Step }[] = [];
  #ending = false;

  /** Whether everything is being undone, so that nothing new should be begun. */
  get ending(): boolean {
    return this.#ending;
  }

  /** Registers how to take something back; returns a function that does so now. */
  add(what: string, step: Step): () => Promise<void> {
    const entry = { what, step };
    this.#steps.push(entry);
    return async () => {
      if (!this.#steps.includes(entry)) return;
      this.#steps = this.#steps.filter((other) => other !== entry);
      await step();
    };
  }

  async all(): Promise<void> {
    this.#ending = true;
    for (let entry = this.#steps.pop(); entry !== undefined; entry = this.#steps.pop()) {
      try {
        await entry.step();
      } catch (error) {
        console.error(`cleaning up (${entry.what}) failed: ${(error as Error).message}`);
      }
    }
  }

  /** On Ctrl-C and the like everything is undone before the process ends; a second signal waits for the same. */
  onSignals(): void {
    let ending = false;
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(name, () => {
        if (ending) return;
        ending = true;
        console.error(`\n${name}: cleaning up`);
        void this.all().then(() => process.exit(130));
      });
    }
  }
}

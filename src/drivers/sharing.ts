/**
 * One write for all that wait for it: what a driver did has to be durable before it answers, and calls come in groups. Those
 * that came up in the same turn of the event loop share a write. While it is under way the thread takes no other calls; what
 * comes meanwhile shares the next one.
 */

/** Makes a function whose promise settles when `write`, begun after the call, has ended. It rejects with what `write` throws. */
export function shared(write: () => void): () => Promise<void> {
  let next: Promise<void> | null = null;
  const inOrder = async (): Promise<void> => {
    await new Promise((turn) => setImmediate(turn));
    next = null;
    write();
  };
  return () => (next ??= inOrder());
}

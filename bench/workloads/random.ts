/** Numbers and text that look like work but are the same in every run. */

/** A generator of numbers in [0, 1) from a seed: xorshift with 32 bits. */
export function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** A size as those of source files are spread: many small ones, few large. From `least` on, `most` at most. */
export function fileSize(random: () => number, least: number, most: number): number {
  const SHAPE = 1.2; // of the Pareto distribution; its mean is six times the least
  return Math.min(most, Math.floor(least / (1 - random()) ** (1 / SHAPE)));
}

const WORDS = ['static int ', 'return ', 'struct node *', 'if (', ') {\n  ', '}\n', ' = ', 'for (i = 0; i < ', '; i++) ', 'unsigned long '];

/** Text that compresses about as well as source code. */
export function text(random: () => number, bytes: number): string {
  const parts: string[] = [];
  for (let length = 0; length < bytes; length += parts.at(-1)!.length) {
    parts.push(WORDS[Math.floor(random() * WORDS.length)]! + Math.floor(random() * 2 ** 20).toString(16));
  }
  return parts.join('').slice(0, bytes);
}

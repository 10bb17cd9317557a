/**
 * Proves the direction of imports: layout <- linux <- engine <- {fuse, archive} <- drivers <- daemon <- cli, and that no
 * files import each other in a circle.
 *
 * Every import counts, types and workers (`new URL('./x.js', import.meta.url)`) included: a type is knowledge too.
 * Tests may use what lies outside src/, but are bound to the same direction within it.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';

/** Rank of each folder of src/. A file may import from its own folder and from folders of lower rank. */
const RANKS: Readonly<Record<string, number>> = {
  layout: 0,
  linux: 1,
  engine: 2,
  fuse: 3,
  archive: 3,
  drivers: 4,
  daemon: 5,
  cli: 6,
};

/** A file's path from the root of the repository -> the paths it imports. */
export type ImportGraph = ReadonlyMap<string, readonly string[]>;

const IMPORT = /(?:\bfrom\s+|\bimport\s*\(\s*|\bimport\s+|\bnew URL\(\s*)'(\.[^']+\.js)'/g;

/** Relative imports in `text`, as paths of TypeScript files. */
export function importsOf(path: string, text: string): string[] {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, '');
  return [...code.matchAll(IMPORT)].map((match) => normalize(join(dirname(path), match[1]!)).replace(/\.js$/, '.ts'));
}

function layerOf(path: string): string | undefined {
  const [top, layer] = path.split('/');
  return top === 'src' ? layer : undefined;
}

/** Sentences about imports that point upwards or sideways. */
export function wrongDirections(graph: ImportGraph): string[] {
  const wrong: string[] = [];
  for (const [path, imports] of graph) {
    const from = layerOf(path);
    if (from === undefined) continue;
    if (RANKS[from] === undefined) wrong.push(`${path} lies in a folder that has no place in the order of imports`);
    for (const target of imports)
      if (!mayImport(from, target) && !isTestSupport(path, target))
        wrong.push(`${path} must not import ${target}: ${from} comes before ${layerOf(target)}`);
  }
  return wrong;
}

function mayImport(from: string, target: string): boolean {
  const to = layerOf(target);
  if (to === undefined) return false;
  return from === to || (RANKS[to] ?? Infinity) < (RANKS[from] ?? -1);
}

/** Tests may use what lies outside src/. */
function isTestSupport(path: string, target: string): boolean {
  return /\.(test|fuzz)\.ts$/.test(path) && layerOf(target) === undefined;
}

/** Circles of files, each as `a -> b -> a`. */
export function circles(graph: ImportGraph): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) found.push([...trail.slice(start), path].join(' -> '));
    if (start >= 0 || done.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return found;
}

function sourceFiles(root: string): string[] {
  return readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .toSorted();
}

export function readGraph(root: string): ImportGraph {
  return new Map(sourceFiles(root).map((path) => [path, importsOf(path, readFileSync(join(root, path), 'utf8'))]));
}

function main(): void {
  const graph = readGraph(process.cwd());
  const complaints = [...wrongDirections(graph), ...circles(graph)];
  for (const complaint of complaints) console.error(complaint);
  if (complaints.length > 0) process.exitCode = 1;
}

if (process.argv[1] === import.meta.filename) main();

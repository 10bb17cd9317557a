/** `lcfs layer tree`: layers below their parents. */
import { Command } from 'commander';
import type { Layer } from '../../daemon/protocol.js';
import { LcfsError } from '../../engine/errors.js';
import { controlOption, daemonFor, examples, jsonOption, type JsonOptions } from '../options.js';
import { printJson, printLine } from '../output.js';
import { formatSize } from '../sizes.js';

export function layerTreeCommand(): Command {
  const command = new Command('tree')
    .description('show layers below their parents')
    .argument('[layer]', 'only this layer and what was cloned from it')
    .addOption(controlOption())
    .addOption(jsonOption())
    .action(tree);
  return examples(command, 'lcfs layer tree', 'lcfs layer tree debian');
}

export interface LayerNode {
  layer: Layer;
  children: LayerNode[];
}

async function tree(name: string | undefined, options: JsonOptions): Promise<void> {
  const layers: Layer[] = [];
  for await (const layer of (await daemonFor(options)).lines<Layer>('GET', 'layers')) layers.push(layer);
  const roots = layerTree(layers, name);
  if (options.json) printJson(roots.map(toJson));
  else for (const line of treeLines(roots)) printLine(line);
}

/** The layers as trees, in the order in which they were made. With a name, the tree below that layer. */
export function layerTree(layers: readonly Layer[], name?: string): LayerNode[] {
  const nodes = new Map(layers.map((layer): [string, LayerNode] => [layer.name, { layer, children: [] }]));
  const roots: LayerNode[] = [];
  for (const node of nodes.values()) {
    const parent = node.layer.parent === null ? undefined : nodes.get(node.layer.parent);
    (parent === undefined ? roots : parent.children).push(node);
  }
  if (name === undefined) return roots;
  const node = nodes.get(name);
  if (node === undefined) throw new LcfsError('not-found', `layer ${name} is not there; lcfs layer ls shows those that are`);
  return [node];
}

function toJson(root: LayerNode): unknown {
  const result: { children: unknown[] } = { ...root.layer, children: [] };
  const open: [LayerNode, { children: unknown[] }][] = [[root, result]];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const child of next[0].children) {
      const value = { ...child.layer, children: [] };
      next[1].children.push(value);
      open.push([child, value]);
    }
  }
  return result;
}

/** Indents a line for a branch only, not for every clone in a chain: a chain of 10,000 layers stays readable. */
export function* treeLines(roots: readonly LayerNode[]): Generator<string> {
  const open: { node: LayerNode; indent: string; mark: string }[] = roots.toReversed().map((node) => ({ node, indent: '', mark: '' }));
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    yield `${next.indent}${next.mark}${describe(next.node.layer)}`;
    const { children } = next.node;
    const indent = next.indent + (next.mark === '├─ ' ? '│  ' : next.mark === '└─ ' ? '   ' : '');
    if (children.length === 1) open.push({ node: children[0]!, indent, mark: '↳ ' });
    else children.toReversed().forEach((node, index) => open.push({ node, indent, mark: index === 0 ? '└─ ' : '├─ ' }));
  }
}

function describe(layer: Layer): string {
  return `${layer.name} (${layer.state}, ${formatSize(layer.ownBytes)})`;
}

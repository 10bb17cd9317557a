/** Writes `records.ts` from the tables, or with `--check` compares it with what is checked in (exit code 1 if it differs). */
import { readFileSync, writeFileSync } from 'node:fs';
import { TABLES, type Field, type RecordTable } from './tables.js';

const HEADER = `/* Generated from tables.ts by \`npm run generate\`. Do not edit. \`at\` is the word index of the record. */
import { I, W } from './memory.js';
`;

function capitalised(name: string): string {
  return name[0]!.toUpperCase() + name.slice(1);
}

function comment(field: Field): string {
  return `/** ${capitalised(field.comment)}.${field.zero === undefined ? '' : ` Zero: ${field.zero}.`} */`;
}

function accessors(table: RecordTable, field: Field): string {
  const name = table.name + capitalised(field.name);
  const set = 'set' + capitalised(name);
  const at = field.word === 0 ? 'at' : `at + ${field.word}`;
  const address = `export const ${name}At = (at: number): number => ${at};`;
  if (field.type === 'atomic') {
    return `${comment(field)}
${address}
export const load${capitalised(name)} = (at: number): number => Atomics.load(I, ${at});
export const store${capitalised(name)} = (at: number, value: number): void => void Atomics.store(I, ${at}, value);
export const add${capitalised(name)} = (at: number, value: number): number => Atomics.add(I, ${at}, value);
`;
  }
  const view = field.type === 'i32' ? 'I' : 'W';
  return `${comment(field)}
${address}
export const ${name} = (at: number): number => ${view}[${at}]!;
export const ${set} = (at: number, value: number): void => void (${view}[${at}] = value);
`;
}

/** Fails if fields overlap, leave the record or share a name. */
export function checkTable(table: RecordTable): void {
  const words = new Set<number>();
  const names = new Set<string>();
  for (const field of table.fields) {
    if (field.word < 0 || field.word >= table.words) throw new Error(`${table.name}.${field.name} lies outside its record`);
    if (words.has(field.word)) throw new Error(`${table.name}.${field.name} overlaps another field`);
    if (names.has(field.name)) throw new Error(`${table.name}.${field.name} is declared twice`);
    words.add(field.word);
    names.add(field.name);
  }
}

export function generateRecords(): string {
  const parts = [HEADER];
  for (const table of TABLES) {
    checkTable(table);
    parts.push(
      `// ${table.title}\n\n/** Size of the record in words. */\nexport const ${table.name.toUpperCase()}_WORDS = ${table.words};\n`,
    );
    for (const field of table.fields) parts.push(accessors(table, field));
  }
  return parts.join('\n');
}

/** Field tables in Markdown, for docs/FORMAT.md. */
export function generateFormat(): string {
  return TABLES.filter((table) => table.where === 'disk')
    .map((table) => {
      const rows = table.fields.map(
        (field) => `| ${field.word * 4} | ${field.name} | ${field.comment}${field.zero === undefined ? '' : ` (0: ${field.zero})`} |`,
      );
      return `### ${table.title}\n\n${table.words * 4} bytes.\n\n| byte | field | meaning |\n|---|---|---|\n${rows.join('\n')}\n`;
    })
    .join('\n');
}

const BEGIN = '<!-- generated: fields -->';
const END = '<!-- end of generated part -->';

function withFields(markdown: string): string {
  const begin = markdown.indexOf(BEGIN);
  const end = markdown.indexOf(END);
  if (begin < 0 || end < 0) throw new Error('docs/FORMAT.md has lost its markers for the generated part');
  return `${markdown.slice(0, begin)}${BEGIN}\n\n${generateFormat()}\n${markdown.slice(end)}`;
}

function main(check: boolean): void {
  const outputs: [string, string][] = [
    ['src/layout/records.ts', generateRecords()],
    ['docs/FORMAT.md', withFields(readFileSync('docs/FORMAT.md', 'utf8'))],
  ];
  for (const [path, text] of outputs) {
    if (!check) writeFileSync(path, text);
    else if (readFileSync(path, 'utf8') !== text) {
      console.error(`${path} differs from the tables: run npm run generate`);
      process.exitCode = 1;
    }
  }
}

if (process.argv[1] === import.meta.filename) main(process.argv.includes('--check'));

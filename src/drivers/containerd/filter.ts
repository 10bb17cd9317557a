/**
 * containerd's filter language, as List takes it:
 *
 *   selectors := selector ("," selector)*                  all of them have to hold
 *   selector  := path [operator value]                     without operator: the field is there
 *   path      := field ("." field)*                        name, parent, kind, labels.KEY
 *   field     := quoted | [A-Za-z0-9_-]+
 *   operator  := "==" | "!=" | "~="                        the last: the value is a regular expression
 *   value     := quoted | [^\s,]+
 *   quoted    := text between two of the same of " / |, with the escapes of Go
 *
 * Several filters: one of them has to hold. A field that nobody knows is never there. Regular expressions are JavaScript's;
 * what Go's make of the usual ones is the same.
 */
import { invalid } from './failure.js';

/** What filters are about. */
export interface Filtered {
  readonly name: string;
  readonly parent: string;
  readonly kind: string;
  readonly labels: Readonly<Record<string, string>>;
}

export type Filter = (of: Filtered) => boolean;

/** Throws CallFailure InvalidArgument for a filter that does not parse. */
export function parseFilters(filters: readonly string[]): Filter {
  const parsed = filters.map((text) => (text === '' ? () => true : new Parser(text).parse()));
  return parsed.length === 0 ? () => true : (of) => parsed.some((filter) => filter(of));
}

const SPACE = /\s*/y;
const FIELD = /[A-Za-z0-9_-]+/y;
const OPERATOR = /[=!~]+/y;
const VALUE = /[^\s,"/|][^\s,]*/y;
const QUOTED = /(["/|])((?:(?!\1)[^\\\n]|\\.)*)\1/y;
const ESCAPE = /\\(?:([abfnrtv\\"/|])|([0-7]{3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|(.?))/g;
const SHORT_ESCAPES: Readonly<Record<string, string>> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };
const CODE_POINT_MAX = 0x10ffff;

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Filter {
    const selectors = [this.#selector()];
    while (this.#takeText(',')) selectors.push(this.#selector());
    if (this.#at < this.#text.length) throw this.#unexpected('"," or the end');
    return (of) => selectors.every((selector) => selector(of));
  }

  #selector(): Filter {
    const path = this.#path();
    const operator = this.#take(OPERATOR);
    if (operator === null) return (of) => fieldOf(of, path) !== undefined;
    const value = this.#value();
    switch (operator[0]) {
      case '==':
        return (of) => fieldOf(of, path) === value;
      case '!=':
        return (of) => (fieldOf(of, path) ?? '') !== value;
      case '~=':
        return this.#matching(path, value);
      default:
        throw this.#error(`there is no operator "${operator[0]}", but "==", "!=" and "~="`);
    }
  }

  #matching(path: readonly string[], value: string): Filter {
    let expression: RegExp;
    try {
      expression = new RegExp(value);
    } catch (error) {
      throw this.#error((error as Error).message);
    }
    return (of) => expression.test(fieldOf(of, path) ?? '');
  }

  #path(): string[] {
    const path = [this.#field()];
    while (this.#takeText('.')) path.push(this.#field());
    return path;
  }

  #field(): string {
    const quoted = this.#take(QUOTED);
    if (quoted !== null) return this.#unquote(quoted[2]!);
    const field = this.#take(FIELD);
    if (field === null) throw this.#unexpected('a field');
    return field[0];
  }

  #value(): string {
    const quoted = this.#take(QUOTED);
    if (quoted !== null) return this.#unquote(quoted[2]!);
    const value = this.#take(VALUE);
    if (value === null) throw this.#unexpected('a value');
    return value[0];
  }

  #unquote(text: string): string {
    return text.replaceAll(ESCAPE, (whole, short, octal, hex2, hex4, hex8) => {
      if (short !== undefined) return SHORT_ESCAPES[short as string] ?? (short as string);
      const digits = (octal ?? hex2 ?? hex4 ?? hex8) as string | undefined;
      const code = digits === undefined ? NaN : Number.parseInt(digits, octal === undefined ? 16 : 8);
      if (!(code <= CODE_POINT_MAX)) throw this.#error(`there is no escape sequence ${whole}`);
      return String.fromCodePoint(code);
    });
  }

  #take(token: RegExp): RegExpExecArray | null {
    this.#skipSpace();
    token.lastIndex = this.#at;
    const found = token.exec(this.#text);
    if (found !== null) this.#at = token.lastIndex;
    return found;
  }

  #takeText(text: string): boolean {
    this.#skipSpace();
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #skipSpace(): void {
    SPACE.lastIndex = this.#at;
    SPACE.exec(this.#text);
    this.#at = SPACE.lastIndex;
  }

  #unexpected(wanted: string): Error {
    return this.#error(`${wanted} is expected at "${this.#text.slice(this.#at, this.#at + 40)}"`);
  }

  #error(cause: string): Error {
    return invalid(`filter "${this.#text.slice(0, 200)}" does not parse: ${cause}`);
  }
}

function fieldOf(of: Filtered, path: readonly string[]): string | undefined {
  switch (path[0]) {
    case 'name':
      return of.name;
    case 'parent':
      return of.parent;
    case 'kind':
      return of.kind;
    case 'labels':
      return labelOf(of.labels, path.slice(1).join('.'));
    default:
      return undefined;
  }
}

function labelOf(labels: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined;
}

// JSON read without touching its numbers: JavaScript would turn a result of 2.0 into 2.

/** A number with exactly the digits the gateway wrote. */
export class ExactNumber {
  constructor(readonly digits: string) {}
}

export type ExactJson = null | boolean | string | ExactNumber | ExactJson[] | { [key: string]: ExactJson };

/** Deeper than any FHIR resource; keeps a hostile answer from exhausting the stack. */
const DEPTH_MAX = 200;
const TOKEN =
  /\s*(?:([{}[\],:])|("(?:[^"\\]|\\.)*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null)|$)/y;

class Reader {
  private mark = '';
  private value: ExactJson | undefined;
  private at = 0;

  constructor(private readonly text: string) {
    this.next();
  }

  whole(): ExactJson {
    const value = this.any(0);
    if (this.mark !== '' || this.value !== undefined) this.refuse();
    return value;
  }

  private next(): void {
    TOKEN.lastIndex = this.at;
    const found = TOKEN.exec(this.text);
    if (!found) return this.refuse();
    this.at = TOKEN.lastIndex;
    const [, mark, string, number, word] = found;
    this.mark = mark ?? '';
    if (string !== undefined) this.value = JSON.parse(string) as string;
    else if (number !== undefined) this.value = new ExactNumber(number);
    else this.value = word === undefined ? undefined : (JSON.parse(word) as boolean | null);
  }

  private any(depth: number): ExactJson {
    if (depth > DEPTH_MAX) this.refuse();
    if (this.mark === '{') return this.object(depth);
    if (this.mark === '[') return this.list(depth);
    const { value } = this;
    if (value === undefined) return this.refuse();
    this.next();
    return value;
  }

  private list(depth: number): ExactJson[] {
    const list: ExactJson[] = [];
    this.next();
    while (!this.closes(']', list.length)) list.push(this.any(depth + 1));
    return list;
  }

  private object(depth: number): { [key: string]: ExactJson } {
    const pairs: [string, ExactJson][] = [];
    this.next();
    while (!this.closes('}', pairs.length)) {
      const key = this.value;
      if (typeof key !== 'string') return this.refuse();
      this.next();
      if (this.mark !== ':') this.refuse();
      this.next();
      pairs.push([key, this.any(depth + 1)]);
    }
    return Object.fromEntries(pairs);
  }

  /** Passes the closing mark or, between members, the comma. */
  private closes(mark: string, members: number): boolean {
    if (this.mark === mark) {
      this.next();
      return true;
    }
    if (members > 0) {
      if (this.mark !== ',') this.refuse();
      this.next();
      if (this.mark === mark) this.refuse();
    }
    return false;
  }

  private refuse(): never {
    throw new SyntaxError(`not JSON near character ${this.at}`);
  }
}

export function parseExact(text: string): ExactJson {
  return new Reader(text).whole();
}

export interface JsonPart {
  kind: 'key' | 'string' | 'number' | 'word' | 'mark';
  text: string;
}

/** Indented source of a value in parts, so that a page can colour it without building HTML. */
export function layOut(value: ExactJson, indent = ''): JsonPart[] {
  const mark = (text: string): JsonPart => ({ kind: 'mark', text });
  if (value instanceof ExactNumber) return [{ kind: 'number', text: value.digits }];
  if (typeof value === 'string') return [{ kind: 'string', text: JSON.stringify(value) }];
  if (value === null || typeof value === 'boolean') return [{ kind: 'word', text: String(value) }];
  const inner = indent + '  ';
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}'];
  const members = Array.isArray(value)
    ? value.map((member) => layOut(member, inner))
    : Object.entries(value).map(([key, member]) => [
        { kind: 'key' as const, text: JSON.stringify(key) },
        mark(': '),
        ...layOut(member, inner),
      ]);
  if (members.length === 0) return [mark(open + close)];
  const body = members.flatMap((parts, at) => [mark(`${at ? ',' : ''}\n${inner}`), ...parts]);
  return [mark(open), ...body, mark(`\n${indent}${close}`)];
}

export const asText = (value: ExactJson): string =>
  layOut(value)
    .map((part) => part.text)
    .join('');

/** A member by path, e.g. `at(observation, 'code', 'coding', 0, 'display')`. */
export function at(value: ExactJson | undefined, ...path: (string | number)[]): ExactJson | undefined {
  let here: ExactJson | undefined = value;
  for (const step of path) {
    if (here === null || typeof here !== 'object' || here instanceof ExactNumber) return undefined;
    here = Array.isArray(here) ? here[Number(step)] : Object.hasOwn(here, step) ? here[step] : undefined;
  }
  return here;
}

// Every word the desk shows. The English text is the key: see README.md here.

import { language, translation, type Said } from './language.svelte';

declare const brand: unique symbol;
/** A text of the catalogue that is translated where it is shown. */
export type Message = string & { readonly [brand]: true };

type Value = string | number | null | undefined;
type Names<S extends string> = S extends `${string}{${infer Name}}${infer Rest}` ? Name | Names<Rest> : never;
/** A literal, so that the catalogue can be checked against the source; anything else must come from `m`. */
type Literal<S extends string> = S extends Message ? S : string extends S ? never : S;
type Values<S extends string> = S extends Message
  ? [values?: Record<string, Value>]
  : [Names<S>] extends [never]
    ? []
    : [values: Record<Names<S>, Value>];

/** A text for later: tables that are made before the language is known hold these. */
export const m = <const S extends string>(text: Literal<S>): Message => text as unknown as Message;

/** The text in the desk's language, with `{name}` filled in; a number is written as the language does. */
export function t<const S extends string>(text: Literal<S>, ...[values]: Values<S>): string {
  return fill(translated(text), values);
}

/** One of two texts by the number `{n}`; languages with more forms have them in their catalogue, by the second text. */
export function plural<const A extends string, const B extends string>(
  n: number,
  one: Literal<A>,
  other: Literal<B>,
  ...[values]: Exclude<Names<A> | Names<B>, 'n'> extends never
    ? []
    : [values: Record<Exclude<Names<A> | Names<B>, 'n'>, Value>]
): string {
  const said: Said = translation(other) ?? { one, other };
  const form = typeof said === 'string' ? said : (said[language.rules.select(n)] ?? said.other ?? other);
  return fill(form, { ...(values as Record<string, Value> | undefined), n });
}

/** In the desk's language, its placeholders still in it. */
export function translated(text: string): string {
  const said = translation(text);
  if (said === undefined) return text;
  return typeof said === 'string' ? said : (said.other ?? text);
}

export function fill(text: string, values: Record<string, Value> = {}): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? shown(values[name]) : whole));
}

const shown = (value: Value): string => (typeof value === 'number' ? digits(value) : (value ?? ''));

/** Thousands set apart by a narrow space (ISO 80000-1): a point or comma there would be read as a decimal sign elsewhere. */
export function digits(n: number, fraction_max = 0): string {
  if (fraction_max === 0 && Number.isInteger(n)) return grouped(String(n));
  const parts = language.numbers.formatToParts(Number(n.toFixed(fraction_max)));
  return parts.map(({ type, value }) => (type === 'group' ? '\u202f' : value)).join('');
}

const grouped = (whole: string): string => whole.replace(/\B(?=(\d{3})+$)/g, '\u202f');

/** `a, b and c`. */
export const listed = (items: readonly string[]): string => language.lists.format(items);

/** A piece of a text with tags: plain, or what stands between `<name>` and `</name>`, or a `{name}`. */
export interface Piece {
  kind: 'text' | 'tag' | 'slot';
  name: string;
  text: string;
}

/** A translated text taken apart at its tags (never nested) and placeholders. Values are filled in after that. */
export function pieces(text: string, values: Record<string, Value> = {}): Piece[] {
  const found: Piece[] = [];
  for (const part of text.split(/(<(\w+)>.*?<\/\2>|\{\w+\})/s).filter((_, i) => i % 3 !== 2)) {
    const tag = /^<(\w+)>(.*)<\/\w+>$/s.exec(part);
    const slot = /^\{(\w+)\}$/.exec(part)?.[1];
    if (tag) found.push({ kind: 'tag', name: tag[1] ?? '', text: fill(tag[2] ?? '', values) });
    else if (slot !== undefined && !(slot in values)) found.push({ kind: 'slot', name: slot, text: '' });
    else if (part) found.push({ kind: 'text', name: '', text: fill(part, values) });
  }
  return found;
}

// What was read from a frame, laid over its bytes: only where it is certain which characters said it.

import type { EntryMeasurement } from './api';
import { unitText } from './words';

export interface Mark {
  /** Where the characters stand in the text, the end not included. */
  start: number;
  end: number;
  says: string;
}

const WORD = /[\p{L}\p{N}_.]/u;
const CODE_MIN = 3;

/** Where a word stands that is no part of a longer one. */
function standing(text: string, word: string): number[] {
  const places: number[] = [];
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    const before = text[at - 1] ?? ' ';
    const after = text.slice(at + word.length, at + word.length + 2);
    const goesOn = WORD.test(after[0] ?? ' ') && !/^\.(?!\p{N})/u.test(after);
    if (!WORD.test(before) && before !== '-' && !goesOn) places.push(at);
  }
  return places;
}

/**
 * Marks for the values that stand in the text as they are. The same characters at several places count where their line
 * names the value's code too; what is left in doubt, converted or not text is not marked.
 */
export function overlay(text: string, measurements: readonly EntryMeasurement[]): Mark[] {
  const lineOf = (at: number) => {
    const end = text.indexOf('\n', at);
    return text.slice(text.lastIndexOf('\n', at) + 1, end < 0 ? undefined : end);
  };
  const claims = new Map<number, { mark: Mark; named: boolean }[]>();
  for (const { label, value, unit, codes } of measurements) {
    const bare = value?.replace(/^[<>≤≥]\s*/, '') ?? '';
    if (bare.trim() === '') continue;
    const words = codes.map(({ code }) => code).filter((code) => code.length >= CODE_MIN && code !== bare);
    const all = standing(text, bare);
    const named = all.filter((at) => words.some((word) => standing(lineOf(at), word).length > 0));
    const [at, ...more] = named.length > 0 ? named : all;
    if (at === undefined || more.length > 0) continue;
    const mark = {
      start: at,
      end: at + bare.length,
      says: [label, unitText(unit)].filter(Boolean).join(', '),
    };
    claims.set(at, [...(claims.get(at) ?? []), { mark, named: named.length > 0 }]);
  }
  const sure = [...claims.values()].flatMap((here) => {
    const named = here.filter((claim) => claim.named);
    const left = named.length > 0 ? named : here;
    return left.length === 1 ? left.map(({ mark }) => mark) : [];
  });
  sure.sort((a, b) => a.start - b.start);
  return sure.filter((mark, i) => i === 0 || mark.start >= (sure[i - 1]?.end ?? 0));
}

export interface Piece {
  text: string;
  says?: string;
}

/** The text cut at its marks. */
export function cut(text: string, marks: readonly Mark[]): Piece[] {
  const pieces: Piece[] = [];
  let from = 0;
  for (const { start, end, says } of marks) {
    pieces.push({ text: text.slice(from, start) }, { text: text.slice(start, end), says });
    from = end;
  }
  pieces.push({ text: text.slice(from) });
  return pieces.filter((piece) => piece.text !== '');
}

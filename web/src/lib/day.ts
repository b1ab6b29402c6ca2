// The last 24 hours of a link in quarters of an hour: what stands in the picture, and the same in words.

import type { Told } from './api';

export type Day = Told['Day'];

export const QUARTER_MS = 15 * 60_000;

export interface Cell {
  begins_ms: number;
  /** `null`: not known. */
  entries: number | null;
  held: number;
}

export interface Strip {
  cells: Cell[];
  entries: number;
  held: number;
  /** Quarters of an hour without an entry since the link's first one of the day; the one that is not over is none. */
  silent: number;
  /** The last stretch of them. */
  gap: { from_ms: number; until_ms: number } | null;
}

export function stripOf(day: Day, link: string): Strip {
  const cells = day.quarters.map(({ begins, entries, held }) => ({
    begins_ms: Date.parse(begins),
    entries: entries && (entries[link] ?? 0),
    held: held[link] ?? 0,
  }));
  const first = cells.findIndex(({ entries }) => (entries ?? 0) > 0);
  const over = first < 0 ? [] : cells.slice(first, -1);
  const silent = over.filter(({ entries }) => entries === 0);
  const last = silent.at(-1);
  let gap: Strip['gap'] = null;
  if (last) {
    const end = over.indexOf(last);
    let from = end;
    while (over[from - 1]?.entries === 0) from -= 1;
    const begin = over[from] ?? last;
    gap = { from_ms: begin.begins_ms, until_ms: last.begins_ms + QUARTER_MS };
  }
  return {
    cells,
    entries: cells.reduce((sum, { entries }) => sum + (entries ?? 0), 0),
    held: cells.reduce((sum, { held }) => sum + held, 0),
    silent: silent.length,
    gap,
  };
}

/** Whether this quarter is a gap: silent after the link's first entry of the day, and over. */
export function isGap(strip: Strip, at: number): boolean {
  const first = strip.cells.findIndex(({ entries }) => (entries ?? 0) > 0);
  return first >= 0 && at > first && at < strip.cells.length - 1 && strip.cells[at]?.entries === 0;
}

/** Height of a bar, 0 to 1: by the square root, so that one entry is seen beside a thousand. */
export function heightOf(entries: number, most: number): number {
  return entries <= 0 || most <= 0 ? 0 : Math.max(0.2, Math.sqrt(entries / most));
}

export interface Paths {
  bars: string;
  held: string;
  gaps: string;
  unknown: string;
}

/** Outlines in a box of one unit a quarter and `high` units. */
export function pathsOf(strip: Strip, high: number): Paths {
  const most = Math.max(...strip.cells.map(({ entries }) => entries ?? 0), 1);
  const paths: Paths = { bars: '', held: '', gaps: '', unknown: '' };
  const box = (x: number, top: number, tall: number) => `M${x + 0.1} ${top}h0.8v${tall}h-0.8z`;
  strip.cells.forEach(({ entries, held }, at) => {
    if (entries === null) paths.unknown += box(at, high - 1, 1);
    else if (entries > 0) {
      const tall = Math.round(heightOf(entries, most) * (high - 4) * 100) / 100;
      paths.bars += box(at, high - tall, tall);
    } else if (isGap(strip, at)) paths.gaps += box(at, 4, high - 4);
    if (held > 0) paths.held += box(at, 0, 3);
  });
  return paths;
}

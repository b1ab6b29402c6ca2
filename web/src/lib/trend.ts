// The points of one trend: what the gateway had, and what the live stream adds.

import type { LivePoint } from './api';

export type Point = [at_ms: number, value: number | null];

/** A trend on a tablet for a whole shift at one point a second; older ones leave first. */
const POINTS_MAX = 40_000;

/** The points with one more: in order of time, a later word for the same moment replaces the earlier. */
export function withPoint(points: Point[], point: LivePoint): Point[] {
  const at_ms = Date.parse(point.taken);
  if (Number.isNaN(at_ms) || !Number.isFinite(point.value)) return points;
  const after = points.findLastIndex(([at]) => at <= at_ms);
  const same = points[after]?.[0] === at_ms;
  const grown = points.toSpliced(same ? after : after + 1, same ? 1 : 0, [at_ms, point.value]);
  return grown.length > POINTS_MAX ? grown.slice(-POINTS_MAX) : grown;
}

/** uPlot's shape: a column of seconds and one of values. */
export function columns(points: Point[]): [number[], (number | null)[]] {
  return [points.map(([at]) => at / 1000), points.map(([, value]) => value)];
}

export interface Span {
  low: number;
  high: number;
  last: number;
}

export function span(points: Point[]): Span | null {
  const values = points.map(([, value]) => value).filter((value) => value !== null);
  const last = values.at(-1);
  if (last === undefined) return null;
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  return { low, high, last };
}

// Spans of time a list is narrowed to. The last 24 hours where nothing else is said; what is open is shown however old it is.

import { m, type Message } from './i18n';

export interface Span {
  name: Message;
  hours: number | null;
}

export const SPANS: Record<string, Span> = {
  '24h': { name: m('Last 24 hours'), hours: 24 },
  '1h': { name: m('Last hour'), hours: 1 },
  '7d': { name: m('Last 7 days'), hours: 7 * 24 },
  '30d': { name: m('Last 30 days'), hours: 30 * 24 },
  all: { name: m('All that is kept'), hours: null },
};

/** The span of a list: the one in its address, else by what it shows. */
export function spanOf(terms: URLSearchParams): string {
  const said = terms.get('span') ?? '';
  if (SPANS[said]) return said;
  const open = ['held', 'waiting', 'sent'].includes(terms.get('state') ?? '');
  return open || terms.get('reason') || terms.get('message') ? 'all' : '24h';
}

/** RFC 3339, or nothing where all is meant. To the minute: the same list asks the same thing. */
export function since(span: string, now_ms: number): string {
  const hours = SPANS[span]?.hours;
  if (!hours) return '';
  const minute = Math.floor(now_ms / 60_000) * 60_000;
  return new Date(minute - hours * 3_600_000).toISOString();
}

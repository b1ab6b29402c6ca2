// Times as people need them: always with their zone, ages in the largest unit that still says enough.

import { t } from './i18n';

const two = (n: number): string => String(n).padStart(2, '0');

/** `UTC+01:00` of a moment, in this browser's zone; `UTC` itself stays short. */
export function zone(at: Date): string {
  const minutes = -at.getTimezoneOffset();
  if (minutes === 0) return 'UTC';
  const size = Math.abs(minutes);
  return `UTC${minutes < 0 ? '−' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

export function clockText(at: Date): string {
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

function dayText(at: Date): string {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** `2026-11-22 14:03:09 UTC+01:00`; what is no time comes back as it was. */
export function momentText(rfc3339: string): string {
  const at = new Date(rfc3339);
  return Number.isNaN(at.getTime()) ? rfc3339 : `${dayText(at)} ${clockText(at)} ${zone(at)}`;
}

/** The moment to the millisecond: `2026-11-22 14:03:09.042 UTC+01:00`. */
export function fineMoment(rfc3339: string): string {
  const at = new Date(rfc3339);
  if (Number.isNaN(at.getTime())) return rfc3339;
  const ms = String(at.getMilliseconds()).padStart(3, '0');
  return `${dayText(at)} ${clockText(at)}.${ms} ${zone(at)}`;
}

/** The moment without its day when that day is today: `14:03:09 UTC+01:00`. */
export function shortMoment(rfc3339: string, now_ms: number): string {
  const at = new Date(rfc3339);
  if (Number.isNaN(at.getTime())) return rfc3339;
  return dayText(at) === dayText(new Date(now_ms)) ? `${clockText(at)} ${zone(at)}` : momentText(rfc3339);
}

/** Labels of a time axis: `14:05`, with the day below the first and wherever a new one begins. */
export function axisText(seconds: number[]): string[] {
  let day = '';
  const fine = seconds.some((s) => s % 60 !== 0);
  return seconds.map((s) => {
    const at = new Date(s * 1000);
    const clock = clockText(at).slice(0, fine ? 8 : 5);
    if (dayText(at) === day) return clock;
    day = dayText(at);
    return `${clock}\n${day}`;
  });
}

/** A time span: `8 s`, `4 min`, `3 h`, `2 d`. */
export function spanText(span_ms: number): string {
  const s = Math.floor(span_ms / 1000);
  if (s < 100) return `${s} s`;
  if (s < 100 * 60) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** A clock that is off by less is not worth a word: delivery takes time as well. */
const AHEAD_TOLERANCE_MS = 5000;

/** How long ago, by the gateway's clock. A time to come says so: the device's clock is wrong. */
export function ageText(rfc3339: string, now_ms: number): string {
  const at = Date.parse(rfc3339);
  if (Number.isNaN(at)) return t('at an unreadable time');
  const age_ms = now_ms - at;
  if (age_ms < -AHEAD_TOLERANCE_MS)
    return t('{span} ahead of the gateway’s clock', { span: spanText(-age_ms) });
  return t('{span} ago', { span: spanText(Math.max(0, age_ms)) });
}

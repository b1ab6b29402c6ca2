// “Is everything flowing?” in one sentence. The gateway says it in English; in other languages it is said here, from the
// same overview and in the same order: what stops care first, then the server, what is held, links, warnings.

import { ALARMS } from './alarms';
import type { Alarm, Overview } from './api';
import { language } from './i18n/language.svelte';
import { plural, t } from './i18n';
import { spanText } from './time';

const PROBLEMS_SHOWN = 2;

export const nameOf = (alarm: Alarm): string => {
  const known = ALARMS[alarm.code];
  return known ? t(known.name) : alarm.title;
};

export function verdictOf(view: Overview): string {
  return language.shown === 'en' ? view.verdict : translatedVerdict(view);
}

/** Sentences joined by semicolons, the first two problems at most. */
export function translatedVerdict(view: Overview): string {
  const found = problems(view);
  if (found.length === 0) return allWell(view).join('; ');
  const more = found.length - PROBLEMS_SHOWN;
  return [...found.slice(0, PROBLEMS_SHOWN), ...(more > 0 ? [t('and {n} more', { n: more })] : [])].join(
    '; ',
  );
}

const since = (at: string, view: Overview): string =>
  spanText(Math.max(0, Date.parse(view.now) - Date.parse(at)));

const queued = ({ counts }: Overview): number => counts.waiting + counts.sent;

function problems(view: Overview): string[] {
  const alarms = (severity: Alarm['severity']) =>
    view.alarms.filter((alarm) => alarm.severity === severity && alarm.code !== 'held').map(nameOf);
  const { held } = view.counts;
  return [
    ...alarms('critical'),
    ...server(view),
    ...(held > 0
      ? [plural(held, '{n} entry is held and needs a person', '{n} entries are held and need a person')]
      : []),
    ...view.links.flatMap(({ name, state, since: at }) => {
      if (state === 'retrying') return [t('Link {name} is not connected', { name })];
      if (state === 'quiet')
        return [t('Link {name} has been silent for {span}', { name, span: since(at, view) })];
      return state === 'stopped' ? [t('Link {name} is stopped', { name })] : [];
    }),
    ...alarms('warning'),
  ];
}

function server(view: Overview): string[] {
  const { state, last_success } = view.upstream;
  const waiting = queued(view);
  const kept =
    waiting > 0
      ? [plural(waiting, '{n} entry is kept safely until then', '{n} entries are kept safely until then')]
      : [];
  if (state === 'refusing') return [t('The FHIR server refuses this gateway'), ...kept];
  if (state !== 'down') return [];
  return [
    last_success
      ? t('The FHIR server last answered {span} ago', { span: since(last_success, view) })
      : t('The FHIR server has not answered yet'),
    ...kept,
  ];
}

function allWell(view: Overview): string[] {
  const { state, last_success } = view.upstream;
  const count = view.devices.length;
  const waiting = queued(view);
  if (count === 0)
    return [
      view.links.length === 0 ? t('No link is set up yet') : t('Ready; no device has sent anything yet'),
    ];
  return [
    plural(count, '{n} device is sending', 'All {n} devices are sending'),
    waiting === 0 ? t('nothing waits') : plural(waiting, '{n} entry waits', '{n} entries wait'),
    state === 'unconfigured'
      ? t('no FHIR server is set up')
      : last_success
        ? t('FHIR server answered {span} ago', { span: since(last_success, view) })
        : t('FHIR server is reachable'),
  ];
}

import { afterEach, describe, expect, it } from 'vitest';
import type { Overview } from './api';
import { chooseLanguage } from './i18n/language.svelte';
import { translatedVerdict, verdictOf } from './verdict';

const NOW = '2026-11-22T14:00:00Z';
const view = (some: Partial<Overview> = {}): Overview =>
  ({
    now: NOW,
    verdict: 'All 2 devices are sending',
    counts: { waiting: 0, sent: 0, accepted: 9, held: 0 },
    alarms: [],
    devices: [{}, {}],
    links: [{ name: 'icu', state: 'up', since: NOW }],
    upstream: { state: 'up', last_success: '2026-11-22T13:59:48Z' },
    ...some,
  }) as unknown as Overview;

afterEach(async () => {
  localStorage.clear();
  await chooseLanguage('en');
});

describe('the verdict', () => {
  it('is the gateway’s own in English, and says the same in another language', async () => {
    expect(verdictOf(view())).toBe('All 2 devices are sending');
    await chooseLanguage('de');
    expect(verdictOf(view())).toBe(
      'Alle 2 Geräte senden; nichts wartet; FHIR-Server hat vor 12 s geantwortet',
    );
  });

  it('names what is wrong first, two problems at most', () => {
    const text = translatedVerdict(
      view({
        counts: { waiting: 3, sent: 1, accepted: 0, held: 2 },
        upstream: { state: 'down', last_success: '2026-11-22T13:50:00Z' } as Overview['upstream'],
        links: [{ name: 'icu', state: 'retrying', since: NOW }] as Overview['links'],
        alarms: [{ code: 'disk-full', severity: 'critical', title: 'x', next_step: 'y', since: NOW }],
      }),
    );
    expect(text).toBe('The disk is full; The FHIR server last answered 10 min ago; and 3 more');
  });

  it('does not call an empty box well', () => {
    expect(translatedVerdict(view({ devices: [] }))).toBe('Ready; no device has sent anything yet');
    expect(translatedVerdict(view({ devices: [], links: [] }))).toBe('No link is set up yet');
  });
});

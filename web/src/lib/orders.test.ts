import { describe, expect, it } from 'vitest';
import { codesIn, said } from './orders';
import { may } from './rights';

describe('test codes', () => {
  it('are taken as typed, scanned or pasted, each once', () => {
    expect(codesIn('GLU, CREA;UREA  GLU', ['K'])).toEqual(['K', 'GLU', 'CREA', 'UREA']);
    expect(codesIn(' ')).toEqual([]);
  });
});

describe('a form', () => {
  it('sends only what was said', () => {
    expect(said({ id: ' 7 ', family: '', given: '  ' })).toEqual({ id: '7' });
  });
});

describe('a role', () => {
  it('is led only to what the gateway lets it do', () => {
    expect(
      ['admin', 'engineer', 'integrator', 'clinician', 'auditor', undefined].map((r) => may(r, 'pair')),
    ).toEqual([true, true, true, false, false, false]);
    expect(may('clinician', 'worklist')).toBe(true);
    expect(may('auditor', 'worklist')).toBe(false);
  });
});

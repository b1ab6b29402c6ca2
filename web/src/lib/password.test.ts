import { describe, expect, it } from 'vitest';
import { passwordRules } from './password';

const met = (password: string, username = 'anna') =>
  passwordRules(password, username).every((rule) => rule.met);

describe('the password rule', () => {
  it('takes a passphrase', () => {
    for (const good of [
      'correct horse battery',
      'Nachtschicht-Tee-42',
      '🦉🦉 über dem Wald',
      'wolf rain 1812 lamp',
    ]) {
      expect(met(good), good).toBe(true);
    }
  });

  it('refuses what is short, counted in characters and not in code units', () => {
    expect(met('elevenchars')).toBe(false);
    expect(met('🦉🐺🌲🌧️🔑🪔')).toBe(false);
  });

  it('refuses the user name in any case', () => {
    expect(met('Anna.Bedside.Ward', 'anna.bedside.ward')).toBe(false);
    expect(met(' anna.bedside.ward ', 'anna.bedside.ward')).toBe(false);
  });

  it('refuses what people try first', () => {
    for (const bad of [
      'password1234',
      'P@ssw0rd2026!',
      'aaaaaaaaaaaa',
      '123456789012',
      'letmeinletmein',
      'Hospital2026!!',
    ]) {
      expect(met(bad), bad).toBe(false);
    }
  });

  it('has met nothing but the negatives before one types', () => {
    expect(passwordRules('', '').some((rule) => rule.met)).toBe(false);
  });
});

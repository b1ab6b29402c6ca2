// The password rule, told while one types. The gateway decides; this only spares a round trip.

import { t } from './i18n';

export const LENGTH_MIN = 12;

/** What people try first. The gateway refuses more than these. */
const COMMON = [
  'password',
  'passwort',
  'motdepasse',
  'contraseña',
  'letmein',
  'welcome',
  'administrator',
  'changeme',
  'qwerty',
  'azerty',
  'qwertz',
  'iloveyou',
  'bedside',
  'hospital',
  'clinic',
];

export interface Rule {
  text: string;
  met: boolean;
}

/** The word inside the padding and the swapped signs: `P@ssw0rd2026!` is `password`. */
function core(password: string): string {
  return password
    .toLowerCase()
    .replace(/^[^\p{L}]+|[^\p{L}]+$/gu, '')
    .replaceAll('0', 'o')
    .replaceAll('@', 'a')
    .replace(/[^\p{L}]+/gu, '');
}

function looksCommon(password: string): boolean {
  const word = core(password);
  if (new Set(password.toLowerCase()).size < 5) return true;
  if (word.length < 3)
    return /^[\d\W_]*$/.test(password) && '01234567890123456789'.includes(password.replace(/\D/g, ''));
  return COMMON.some((common) => word === common || word === common + common);
}

export function passwordRules(password: string, username: string): Rule[] {
  const name = username.trim().toLowerCase();
  return [
    { text: t('At least {n} characters', { n: LENGTH_MIN }), met: [...password].length >= LENGTH_MIN },
    { text: t('Not the user name'), met: password !== '' && password.trim().toLowerCase() !== name },
    { text: t('Not a common password'), met: password !== '' && !looksCommon(password) },
  ];
}

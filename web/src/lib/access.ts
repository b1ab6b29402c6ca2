// Accounts, second factors and users: the gateway's HTTP contract, typed, and what a browser does for passkeys.

import { change, load, seg } from './api';
import { m, translated, type Message } from './i18n';

export type Stage = 'in' | 'factor' | 'password' | 'enrol';
export type FactorKind = 'totp' | 'passkey' | 'recovery';

export interface Entered {
  username: string;
  stage: Stage;
  factors: FactorKind[];
}

export interface Factor {
  id: number;
  kind: 'totp' | 'passkey';
  label: string;
  site: string | null;
  created: string;
  last_used: string | null;
}

export interface Account {
  username: string;
  source: 'local' | 'ldap' | 'oidc';
  factors: Factor[];
  recovery_left: number;
  required: boolean;
  /** The desk was opened by a name that passkeys can be bound to. */
  passkeys: boolean;
}

export interface NewTotp {
  secret: string;
  uri: string;
  svg: string;
}

/** Codes are there when this was the first factor; they are shown once. */
export interface Enrolled {
  recovery: string[] | null;
  stage: Stage;
}

export interface OpenSession {
  id: number;
  user: string;
  current: boolean;
  stage: Stage;
  began: string;
  last_used: string;
  ends: string;
  from: string;
  agent: string | null;
}

export interface ApiToken {
  id: number;
  user: string;
  name: string;
  permissions: string[];
  created: string;
  expires: string;
  last_used: string | null;
}

export interface User {
  name: string;
  role: string;
  source: 'local' | 'ldap' | 'oidc';
  disabled: boolean;
  created: string;
  last_login: string | null;
  factors: ('totp' | 'passkey')[];
  recovery_left: number;
  must_change: boolean;
  places: string[] | null;
  devices: string[] | null;
  permissions: string[] | null;
  own_role: string | null;
  sessions: number;
  tokens: ApiToken[];
  break_glass: { reason: string; until: string } | null;
}

export interface Users {
  users: User[];
  roles: { role: string; permissions: string[] }[];
  /** Of the clinic's own, from the configuration. */
  own_roles: {
    name: string;
    permissions: string[];
    places: string[] | null;
    devices: string[] | null;
  }[];
  permissions: { word: string; means: string }[];
  policy: { second_factor: string[] };
}

export interface UserChange {
  role?: string;
  disabled?: boolean;
  places?: string[] | null;
  devices?: string[] | null;
  permissions?: string[] | null;
  own_role?: string | null;
}

interface Challenge {
  challenge: string;
  rp_id: string;
  credentials: string[];
  timeout_ms: number;
}

interface NewPasskey {
  challenge: string;
  rp: { id: string; name: string };
  user: { id: string; name: string; display: string };
  exclude: string[];
  algorithms: number[];
  timeout_ms: number;
}

const json = async <T>(answer: Promise<Response>): Promise<T> => (await (await answer).json()) as T;

/** base64url without padding, as WebAuthn's data travels. */
export function toBase64url(bytes: ArrayBuffer): string {
  const text = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

export function fromBase64url(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
}

/** An image of the QR code, without markup in the page. */
export const picture = (svg: string): string => `data:image/svg+xml;base64,${btoa(svg)}`;

const known = (ids: string[]): PublicKeyCredentialDescriptor[] =>
  ids.map((id) => ({ type: 'public-key', id: fromBase64url(id) }));

export const access = {
  login: (username: string, password: string) => json<Entered>(change('/login', { username, password })),
  totp: (code: string, remember = false) => json<Entered>(change('/factor/prove', { totp: code, remember })),
  recovery: (code: string) => json<Entered>(change('/factor/prove', { recovery: code })),
  password: (password: string) => json<Entered>(change('/factor/prove', { password })),
  async passkey(remember = false): Promise<Entered> {
    const asked = await json<Challenge>(change('/factor/challenge'));
    const found = (await navigator.credentials.get({
      publicKey: {
        challenge: fromBase64url(asked.challenge),
        rpId: asked.rp_id,
        allowCredentials: known(asked.credentials),
        userVerification: 'required',
        timeout: asked.timeout_ms,
      },
    })) as PublicKeyCredential;
    const answer = found.response as AuthenticatorAssertionResponse;
    const passkey = {
      id: toBase64url(found.rawId),
      client_data: toBase64url(answer.clientDataJSON),
      authenticator_data: toBase64url(answer.authenticatorData),
      signature: toBase64url(answer.signature),
    };
    return json<Entered>(change('/factor/prove', { passkey, remember }));
  },

  /** Asks for a fresh proof, if one is owed: before a link that cannot ask by itself. */
  async fresh() {
    await change('/factor/fresh');
  },

  account: () => load<Account>('/account'),
  beginTotp: () => json<NewTotp>(change('/account/totp/begin')),
  addTotp: (code: string, label: string) => json<Enrolled>(change('/account/totp', { code, label })),
  async addPasskey(label: string): Promise<Enrolled> {
    const asked = await json<NewPasskey>(change('/account/passkey/begin'));
    const made = (await navigator.credentials.create({
      publicKey: {
        challenge: fromBase64url(asked.challenge),
        rp: asked.rp,
        user: {
          id: fromBase64url(asked.user.id),
          name: asked.user.name,
          displayName: asked.user.display,
        },
        pubKeyCredParams: asked.algorithms.map((alg) => ({ type: 'public-key', alg })),
        excludeCredentials: known(asked.exclude),
        authenticatorSelection: { userVerification: 'required', residentKey: 'discouraged' },
        attestation: 'none',
        timeout: asked.timeout_ms,
      },
    })) as PublicKeyCredential;
    const answer = made.response as AuthenticatorAttestationResponse;
    const client_data = toBase64url(answer.clientDataJSON);
    const attestation = toBase64url(answer.attestationObject);
    return json<Enrolled>(change('/account/passkey', { label, client_data, attestation }));
  },
  newCodes: async () => (await json<{ recovery: string[] }>(change('/account/recovery'))).recovery,
  async removeFactor(id: number) {
    await change(`/account/factors/${id}/remove`);
  },
  async changePassword(old: string, fresh: string) {
    await change('/account/password', { old, new: fresh });
  },
  sessions: async () => (await load<{ sessions: OpenSession[] }>('/account/sessions')).sessions,
  async endSession(id: number) {
    await change(`/account/sessions/${id}/end`);
  },
  endOthers: async () => (await json<{ ended: number }>(change('/account/sessions/end-others'))).ended,
  tokens: () => load<{ tokens: ApiToken[]; may: string[] }>('/account/tokens'),
  addToken: (name: string, permissions: string[], days: number) =>
    json<ApiToken & { token: string }>(change('/account/tokens', { name, permissions, days })),
  async revokeToken(id: number) {
    await change(`/account/tokens/${id}/revoke`);
  },
  breakGlass: (reason: string, minutes: number) =>
    json<{ until: string }>(change('/break-glass', { reason, minutes })),
  async endBreakGlass() {
    await change('/break-glass/end');
  },

  users: () => load<Users>('/users'),
  addUser: (username: string, role: string) =>
    json<{ username: string; password: string | null }>(change('/users', { username, role })),
  async changeUser(name: string, what: UserChange) {
    await change(`/users/${seg(name)}/change`, what);
  },
  newPassword: async (name: string) =>
    (await json<{ password: string }>(change(`/users/${seg(name)}/password`))).password,
  async resetFactors(name: string) {
    await change(`/users/${seg(name)}/factors/reset`);
  },
  async removeUser(name: string) {
    await change(`/users/${seg(name)}/remove`);
  },
  async endSessions(name: string) {
    await change(`/users/${seg(name)}/sessions/end`);
  },
};

/** Why a log-in by another system was refused, from the word in the address. */
export const REFUSED: Readonly<Record<string, Message>> = {
  provider: m(
    'The other system could not be asked, or it refused. Try again, or log in with a user of the gateway.',
  ),
  state: m('That log-in was begun in another window or too long ago. Begin again.'),
  issuer: m(
    'The answer came from another system than the one that was asked. Tell whoever looks after the gateway.',
  ),
  token: m('The gateway did not believe the other system’s answer. Tell whoever looks after the gateway.'),
  role: m('You are in no group that has a role on this gateway. Ask for one.'),
  name: m('Your name is somebody else’s on this gateway. Ask whoever looks after its users.'),
};

const ROLES: Readonly<Record<string, Message>> = {
  admin: m('Administrator'),
  engineer: m('Engineer'),
  clinician: m('Clinician'),
  auditor: m('Auditor'),
  integrator: m('Integrator'),
};

/** A role's name for people; of a newer gateway its word. */
export const roleName = (role: string): string => (ROLES[role] ? translated(ROLES[role]) : role);

const MEANINGS: Readonly<Record<string, Message>> = {
  'session.use': m('log in and look after the own account'),
  'devices.see': m('see devices, links and last values'),
  'messages.read': m('read whole messages and patients'),
  'messages.resend': m('release and send messages again'),
  'upstream.test': m('try the connection upstream'),
  'devices.pair': m('pair devices, make and remove links'),
  'worklist.use': m('see and change orders for analysers'),
  'associations.change': m('say which patient is on a device'),
  'users.change': m('make users, give roles, end sessions'),
  'audit.read': m('read the audit trail'),
  'profiles.change': m('change firmware profiles and templates'),
  'upstreams.change': m('change where results go'),
  'backup.make': m('make and restore backups'),
  'settings.change': m('change how the box is set'),
  'site.change': m('name the box and its site, set its time zone'),
  'break-glass.use': m('look beyond the own places in an emergency'),
};

/** What a permission lets somebody do; of a newer gateway its word. */
export const meaning = (word: string): string => (MEANINGS[word] ? translated(MEANINGS[word]) : word);

/** Lines or commas of a text field, as a list. */
export const listOf = (text: string): string[] =>
  text
    .split(/[\n,]/)
    .map((one) => one.trim())
    .filter(Boolean);
